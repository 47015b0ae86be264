"""``ganglion up`` meets what can go wrong: each ends in one sentence or goes on by itself."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from brain.plumbing.db import async_url
from cli.embedded import Postgres
from tests.support.installation import STOP_SECONDS_MAX, Installation, command, remove
from tests.support.wait import until

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


@pytest.fixture
def lasting(harmed: Installation) -> Installation:
    """It is up; the data are those that the test before it left."""
    if harmed.process is None or harmed.process.poll() is not None:
        assert "brain_url" in harmed.start(), harmed.ready
    return harmed


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
        with socket.create_connection(("127.0.0.1", installation.ready["ssh_port"]), 5) as ssh:
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
    await until(lambda: "front" in lasting.pids(), 60)  # the last to be started
    pids = lasting.pids()
    workers = [int(pid) for pid in _children(pids["agent"])]
    assert len(lasting.living(pids)) == len(pids) == 7
    assert workers
    lasting.kill()
    every = {**pids, **{f"worker {pid}": pid for pid in workers}}
    await until(lambda: not lasting.living(every), 10)
    again = lasting.start()
    assert again["api_key"] == key
    await until(lambda: answers(again), 10)


@HARMS
@pytest.mark.feature("B4")
def test_a_second_run_finds_its_own_node_again(lasting: Installation) -> None:
    """The pool's worker ends with the run; the next one runs where it was, and rents nothing."""
    started = time.monotonic()
    assert lasting.stop() == 0
    assert time.monotonic() - started < STOP_SECONDS_MAX
    assert answers(lasting.start())
    [node] = lasting.ask("nodes", "list")
    assert (node["name"], node["gpus_total"] - node["gpus_free"]) == ("local", 1)


@HARMS
async def test_killed_parts_come_back_and_requests_with_them(lasting: Installation) -> None:
    for name in ("postgres", "valkey", "brain", "gateway"):
        before = lasting.pids()[name]
        os.kill(before, signal.SIGKILL)
        await until(lambda n=name, b=before: lasting.pids()[n] not in (None, b), 20)
        await until(lambda: is_whole(lasting.ready), 60, why=f"all is well after {name} was killed")
        assert lasting.pids()[name] != before


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()
