"""``ganglion up`` meets what can go wrong: each ends in one sentence or goes on by itself."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from brain.plumbing.db import async_url
from cli.embedded import Postgres
from cli.embedded.child import alive
from cli.faults import CliError
from cli.supervisor.preflight import OPEN_FILES_WANTED, Listener, check_port
from cli.supervisor.up import SAME_WISH_NS, STOPPED_EARLY
from kernel.clock import NS
from tests.support.installation import (
    ENDED_SECONDS_MAX,
    OPEN_FILES,
    STOP_SECONDS_MAX,
    Installation,
    command,
    remove,
)
from tests.support.wait import pause, until

HARMS = pytest.mark.xdist_group("second")  # beside the one that nobody harms


def chat(ready: dict[str, str]) -> httpx.Response:
    return httpx.post(
        f"{ready['gateway_url']}/v1/chat/completions",
        headers={"authorization": f"Bearer {ready['api_key']}"},
        json={"model": ready["model"], "messages": [{"role": "user", "content": "Hello"}]},
        timeout=20,
    )


def answers(ready: dict[str, str]) -> bool:
    try:
        return chat(ready).status_code == 200
    except httpx.HTTPError:
        return False


def is_whole(ready: dict[str, str]) -> bool:
    """The brain is ready too: a gateway serves for a while without one."""
    try:
        brain = httpx.get(f"{ready['brain_url']}/health/ready", timeout=20)
    except httpx.HTTPError:
        return False
    return brain.status_code == 200 and answers(ready)


@pytest.fixture(scope="module")
def harmed(prepared_data: Path) -> Iterator[Installation]:
    """One that its tests kill and stop. Whatever was done to it, its last stop is clean."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home", data=prepared_data)
    yield found
    if found.process is not None and found.process.poll() is None:
        started = time.monotonic()
        assert found.stop() == 0
        assert time.monotonic() - started < STOP_SECONDS_MAX
    remove(folder)


def lasts(harmed: Installation) -> Installation:
    if harmed.process is None or harmed.process.poll() is not None:
        assert "brain_url" in harmed.start(), harmed.ready
    return harmed


@pytest.fixture
def lasting(harmed: Installation) -> Installation:
    """It is up; the data are those that the test before it left."""
    return lasts(harmed)


@dataclass(frozen=True)
class Interrupted:
    """What became of a run that got Ctrl-C: its processes, which of them were left, its ports that
    were not free again, its words."""

    code: int
    seconds: float
    processes: int
    left: list[str]
    busy: list[int]
    said: str


@pytest.fixture(scope="module")
def interrupted(harmed: Installation) -> Interrupted:
    """Ctrl-C once, and at once again, as an impatient person does."""
    ready = lasts(harmed).ready
    pids = every_process(harmed)
    urls = ("brain_url", "gateway_url")
    ports = [*(int(ready[name].rpartition(":")[2]) for name in urls)]
    ports += [ready["pod_front_port"], ready["ssh_port"]]
    log = harmed.home.parent / "home.up.log"
    before, started = len(log.read_text()), time.monotonic()
    harmed.interrupt()
    harmed.interrupt()
    assert harmed.process is not None
    code = harmed.process.wait(ENDED_SECONDS_MAX)
    took = time.monotonic() - started
    left, busy = harmed.living(pids), [port for port in ports if is_busy(port)]
    return Interrupted(code, took, len(pids), left, busy, log.read_text()[before:])


def is_busy(port: int) -> bool:
    try:
        check_port(Listener("part", "127.0.0.1", port, "PORT"))
    except CliError:
        return True
    return False


def every_process(product: Installation) -> dict[str, int]:
    """All that run beneath it, workers of its node as well."""
    assert product.process is not None
    below = psutil.Process(product.process.pid).children(recursive=True)
    return {f"{one.name()} {one.pid}": one.pid for one in below}


@pytest.mark.feature("B4")
def test_what_it_prints_works(installation: Installation) -> None:
    answer = chat(installation.ready)
    assert answer.status_code == 200
    assert "stand-in" in answer.json()["choices"][0]["message"]["content"]
    assert installation.ready["api_key"] in installation.ready["curl"]


@pytest.mark.feature("E3")
async def test_the_front_of_pods_comes_up_after_it(installation: Installation) -> None:
    base = f"http://127.0.0.1:{installation.ready['pod_front_port']}"

    async def ready() -> bool:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{base}/health/ready")).status_code == 200

    def connected() -> bool:
        with socket.create_connection(("127.0.0.1", installation.ready["ssh_port"]), 30) as ssh:
            return ssh.recv(64).startswith(b"SSH-2.0-Ganglion")

    await until(lambda: _quiet(ready), 60)
    assert connected()
    assert "front" in installation.pids()


async def _quiet(check: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await check()
    except httpx.HTTPError:
        return False


def test_a_second_run_on_the_same_data_is_refused(installation: Installation) -> None:
    done = installation.run("up", "--brain-port", "0", "--gateway-port", "0")
    assert done.returncode == 1
    assert "already runs on" in done.stderr
    assert installation.ready["brain_url"] in done.stderr


def test_secrets_and_logs_are_the_owners_alone(installation: Installation) -> None:
    for name in ("secrets.json", "credentials", "state.json", "logs/brain.log"):
        assert (installation.home / name).stat().st_mode & 0o077 == 0, name
    assert installation.home.stat().st_mode & 0o077 == 0


def test_no_secret_is_in_a_log(installation: Installation) -> None:
    chat(installation.ready)
    import json

    secrets = json.loads((installation.home / "secrets.json").read_text())
    secrets.pop("INSTALLATION_ID")
    logs = "".join(file.read_text() for file in (installation.home / "logs").iterdir())
    assert [name for name, secret in secrets.items() if secret in logs] == []


def test_each_part_may_open_as_many_files_as_the_machine_allows(
    installation: Installation,
) -> None:
    """It was started with what a shell gives, which would end the gateway at 500 streams."""
    wanted = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], OPEN_FILES_WANTED)
    assert wanted > OPEN_FILES
    limits = {
        name: re.search(r"Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text())
        for name, pid in installation.pids().items()
    }
    assert {name: found and int(found[1]) for name, found in limits.items()} == dict.fromkeys(
        limits, wanted
    )


def test_ctrl_c_in_the_middle_of_a_start_ends_it(fresh_installation: Installation) -> None:
    """It waits for a database that says nothing; its Valkey runs already."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        fresh_installation.begin(extra={"DATABASE_URL": url})
        asked = silent.accept()
        pids = fresh_installation.pids()
        assert list(pids) == ["valkey"]
        fresh_installation.interrupt()
        assert fresh_installation.process is not None
        assert fresh_installation.process.wait(ENDED_SECONDS_MAX) == STOPPED_EARLY
        asked[0].close()
    assert fresh_installation.living(pids) == []


def test_a_busy_port_is_named_and_nothing_stays(fresh_installation: Installation) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = command(fresh_installation.home, "up", "--brain-port", port, "--gateway-port", "0")
    assert done.returncode == 1
    assert f"Port {port}, which the brain needs, is busy" in done.stderr
    assert not (fresh_installation.home / "postgres").exists()


def test_a_database_that_is_away_is_one_sentence(fresh_installation: Installation) -> None:
    error = fresh_installation.start(extra={"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"})
    assert "cannot be reached" in error["error"]
    assert "DATABASE_URL" in error["advice"]


def test_a_wrong_setting_is_named(fresh_installation: Installation) -> None:
    done = command(fresh_installation.home, "up", extra={"BRAIN_PORT": "eighty"})
    assert done.returncode == 1
    assert "BRAIN_PORT is wrong" in done.stderr


async def test_a_database_of_a_newer_version_is_left_alone(
    fresh_installation: Installation,
) -> None:
    postgres = Postgres(fresh_installation.home)
    await postgres.start()
    engine = create_async_engine(async_url(postgres.url()))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
        await connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))
    await engine.dispose()
    await postgres.stop()
    error = fresh_installation.start()
    assert error["code"] == "database_too_new"
    assert "newer Ganglion (it is at migration 9999" in error["error"]


@HARMS
async def test_a_killed_supervisor_takes_everything_with_it(lasting: Installation) -> None:
    key = lasting.ready["api_key"]
    pids = await until(lambda: _all_that_run(lasting), 60, why="all parts run")
    workers = await until(lambda: [int(pid) for pid in _children(pids["agent"])], 60)
    lasting.kill()
    every = {**pids, **{f"worker {pid}": pid for pid in workers}}
    await until(lambda: not lasting.living(every))
    again = lasting.start()
    assert again["api_key"] == key
    await until(lambda: answers(again), 60)


@HARMS
def test_ctrl_c_ends_all_of_it(interrupted: Interrupted) -> None:
    assert (interrupted.code, interrupted.left, interrupted.busy) == (0, [], []), interrupted.said
    assert interrupted.seconds < STOP_SECONDS_MAX
    assert interrupted.processes > 7
    assert "Stopped in" in interrupted.said
    assert "Traceback" not in interrupted.said


@HARMS
@pytest.mark.feature("B4")
def test_a_second_run_finds_its_own_node_again(
    harmed: Installation, interrupted: Interrupted
) -> None:
    """The pool's worker ends with the run; the next one runs where it was, and rents nothing."""
    assert interrupted.code == 0
    assert answers(lasts(harmed).ready)
    [node] = harmed.ask("nodes", "list")
    assert (node["name"], node["gpus_total"] - node["gpus_free"]) == ("local", 1)


@HARMS
@pytest.mark.long
def test_ctrl_c_again_later_ends_it_at_once(lasting: Installation) -> None:
    """Its gateway hangs, for which a stop has patience; PostgreSQL has no time to shut down."""
    pids, parts = every_process(lasting), lasting.pids()
    log = lasting.home / "logs" / "postgres.log"
    before = len(log.read_text())
    os.kill(int(parts["gateway"] or 0), signal.SIGSTOP)
    lasting.interrupt()
    pause(1.2 * SAME_WISH_NS / NS)
    assert lasting.process is not None
    assert lasting.process.poll() is None
    lasting.interrupt()
    assert lasting.process.wait(STOP_SECONDS_MAX) == 0
    assert [name for name, pid in parts.items() if pid is not None and alive(pid)] == []
    assert "shut" not in log.read_text()[before:]
    assert answers(lasting.start())
    assert set(lasting.living(pids)) == set()


@HARMS
async def test_killed_parts_come_back_and_requests_with_them(lasting: Installation) -> None:
    for name in ("postgres", "valkey", "brain", "gateway"):
        before = lasting.pids()[name]
        os.kill(before, signal.SIGKILL)
        await until(lambda n=name, b=before: lasting.pids()[n] not in (None, b), 60)
        await until(lambda: is_whole(lasting.ready), 60, why=f"all is well after {name} was killed")
        assert lasting.pids()[name] != before


def _all_that_run(product: Installation) -> dict[str, int] | None:
    """Once each part runs: the front is the last, and one that a test harmed may be on its way."""
    pids = {name: pid for name, pid in product.pids().items() if pid is not None}
    return pids if len(product.living(pids)) == 7 else None


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()
