"""The database of a product that has been up before, laid into a new home before its start.

A first start makes and migrates one, and makes the administrator, which costs seconds of a core:
the tests of that start do it, and those of anything else copy what one run of them would make. Its
files are not forced to the disk: what is tested here is killed, but its machine goes on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from brain import migrate
from cli.admin import create_admin
from cli.credentials import write_private
from cli.embedded import Postgres
from cli.supervisor.environment import ADMIN_EMAIL
from tests.support.postgres import run_apart
from tests.support.shared import locked

ADMIN_PASSWORD = "an administrator of tests"


@pytest.fixture(scope="session")
def prepared_data(run_folder: Path) -> Path:
    """A PostgreSQL's data folder with the newest schema, made once in a run."""
    made = run_folder / "prepared"
    with locked(run_folder, "prepared"):
        if not made.exists():
            home = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
            run_apart(_make(home))
            _copy(home / "postgres", made)
            shutil.rmtree(home, ignore_errors=True)
    return made


def lay(data: Path, home: Path) -> None:
    """``home`` then looks as after a run that left nothing but its schema and administrator."""
    if not (home / "postgres").exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(home / "secrets.json", json.dumps({"ADMIN_PASSWORD": ADMIN_PASSWORD}))
        _copy(data, home / "postgres")


async def _make(home: Path) -> None:
    server = Postgres(home, settings={"fsync": "off"})
    await server.start()
    try:
        await migrate.upgrade(server.url())
        await create_admin(server.url(), ADMIN_EMAIL, ADMIN_PASSWORD)
    finally:
        await server.stop()
    with (home / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\nfull_page_writes = off\n")


def _copy(data: Path, to: Path) -> None:
    """With owners, as PostgreSQL asks for; renamed last, so that it is whole where it is."""
    fresh = to.with_name(f"{to.name}.copied")
    subprocess.run(["cp", "-a", data, fresh], check=True, timeout=60)
    fresh.rename(to)
