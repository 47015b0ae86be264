"""The `ganglion` of the image: what the Dockerfile puts on PATH runs, from what it copies alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wait import free_port
from tests.unit.deploy.test_images import ROOT, instructions

LAUNCHER = "/usr/local/bin/ganglion"
pytestmark = pytest.mark.feature("O5")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What the last stage copies, and the launcher as its RUN line writes it."""
    words = instructions()
    stage = words[max(n for n, (word, _) in enumerate(words) if word == "FROM") :]
    (tmp_path / "app").mkdir()
    for word, rest in stage:
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                (tmp_path / "app" / source).symlink_to(ROOT / source)
        elif word == "RUN" and LAUNCHER in rest:
            written = rest.replace(LAUNCHER, str(tmp_path / "ganglion"))
            subprocess.run(["sh", "-c", written], check=True)
    return tmp_path


def ganglion(image: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the image's own variables, and settings of a production whose stores are away."""
    said = dict(
        pair.split("=", 1)
        for word, rest in instructions()
        if word == "ENV"
        for pair in rest.split()
    )
    away = f"127.0.0.1:{free_port()}"
    own = {
        **{name: re.sub("^/(app|tmp)", rf"{image}/\1", value) for name, value in said.items()},
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "",
        "ENVIRONMENT": "production",
        "DATABASE_URL": f"postgresql://ganglion:word@{away}/ganglion",
        "REDIS_URL": f"redis://{away}/0",
    }
    return subprocess.run(
        ["ganglion", *arguments],
        executable=image / "ganglion",
        env=own,
        cwd=image / "app",
        input="a long enough password\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_the_first_administrator_is_made_in_the_database_of_the_image(image: Path) -> None:
    done = ganglion(image, "admin", "create", "you@example.com", "--password-stdin")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The database cannot be used:")


@pytest.mark.slow
def test_the_doctor_of_the_image_looks_at_stores_and_settings_alone(image: Path) -> None:
    done = ganglion(image, "doctor")
    faults = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")]
    assert done.returncode == 1, done.stderr
    assert {"PostgreSQL", "Valkey", "settings"} == set(faults), done.stdout
    assert f"Nothing runs on {image}/tmp/ganglion." in done.stdout, "where the image can write"
