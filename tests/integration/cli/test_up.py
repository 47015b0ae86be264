"""``ganglion up`` meets what can go wrong: each ends in one sentence or goes on by itself."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from brain.plumbing.db import async_url
from cli.embedded import Postgres
from tests.support.installation import Installation, command
from tests.support.wait import until


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


async def test_a_killed_supervisor_takes_everything_with_it(
    fresh_installation: Installation,
) -> None:
    ready = fresh_installation.start()
    await until(lambda: "front" in fresh_installation.pids(), 60)  # the last to be started
    pids = fresh_installation.pids()
    workers = [int(pid) for pid in _children(pids["agent"])]
    assert len(fresh_installation.living(pids)) == len(pids) == 7
    assert workers
    fresh_installation.kill()
    every = {**pids, **{f"worker {pid}": pid for pid in workers}}
    await until(lambda: not fresh_installation.living(every), 10)
    again = fresh_installation.start()
    assert again["api_key"] == ready["api_key"]
    await until(lambda: answers(again), 10)
    assert fresh_installation.stop() == 0


@pytest.mark.feature("B4")
def test_a_second_run_finds_its_own_node_again(fresh_installation: Installation) -> None:
    """The pool's worker ends with the run; the next one runs where it was, and rents nothing."""
    fresh_installation.start()
    assert fresh_installation.stop() == 0
    ready = fresh_installation.start()
    assert answers(ready)
    [node] = fresh_installation.ask("nodes", "list")
    assert (node["name"], node["gpus_total"] - node["gpus_free"]) == ("local", 1)
    assert fresh_installation.stop() == 0


async def test_killed_parts_come_back_and_requests_with_them(
    fresh_installation: Installation,
) -> None:
    ready = fresh_installation.start()
    for name in ("postgres", "valkey", "brain", "gateway"):
        before = fresh_installation.pids()[name]
        os.kill(before, signal.SIGKILL)
        await until(lambda n=name, b=before: fresh_installation.pids()[n] not in (None, b), 20)
        await until(lambda: answers(ready), 30, why=f"an answer after {name} was killed")
    started = time.monotonic()
    assert fresh_installation.stop() == 0
    assert time.monotonic() - started < 10


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()
