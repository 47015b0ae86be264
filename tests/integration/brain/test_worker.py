"""The Celery worker as a process: it ticks, it stops quickly, it leaves no file behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from brain.deployments import service
from brain.deployments.service import Wanted
from brain.plumbing import Ctx, Db
from catalog import load_catalog
from kernel.clock import SystemClock
from kernel.ids import AccountId, SystemIds
from tests.support.brain import settings_for_tests
from tests.support.shared import ROOT
from tests.support.wait import until

START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60  # of a machine that is busy with other tests
COMMAND = [sys.executable, "-m", "celery", "-A", "brain.worker", "worker", "-B", "-P", "threads"]


@pytest.fixture
def worker(database_url: str, valkey_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    settings = settings_for_tests(database_url)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "JWT_SECRET_KEY": settings.jwt_secret_key.get_secret_value(),
        "MASTER_KEY": settings.master_key.get_secret_value(),
        "GATEWAY_TOKEN": settings.gateway_token.get_secret_value(),
        "INSTALLATION_ID": "tests",
        "WORKER_ALIVE_FILE": str(tmp_path / "alive"),
    }
    with (tmp_path / "worker.log").open("wb") as log_file:
        process = subprocess.Popen(
            COMMAND, cwd=tmp_path, env=environment, stdout=log_file, stderr=log_file
        )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


async def deployed(ctx: Ctx) -> str:
    """A pool deployment, which asks for no credit."""
    wanted = Wanted(model="ganglion/stand-in", pool=True)
    async with ctx.db.begin() as tx:
        made = await service.create(tx, ctx, load_catalog(), ctx.ids.new(AccountId), wanted)
    return made.deployment.deployment_id


async def waits(ctx: Ctx) -> bool:
    async with ctx.db.begin() as tx:
        found = await tx.scalar(text("SELECT waiting_reason FROM replica"))
    return found == "No node is enrolled."


async def test_it_ticks_and_stops_when_it_is_told(
    worker: subprocess.Popen[bytes], database_url: str, tmp_path: Path
) -> None:
    clock = SystemClock()
    ctx = Ctx(Db(database_url), clock, SystemIds(clock))
    await deployed(ctx)
    await until(lambda: waits(ctx), START_SECONDS_MAX)
    await until((tmp_path / "alive").exists, START_SECONDS_MAX)
    worker.send_signal(signal.SIGTERM)
    await until(lambda: worker.poll() is not None, STOP_SECONDS_MAX)
    assert worker.returncode == 0, (tmp_path / "worker.log").read_text()[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "worker.log"]
    await ctx.db.close()
