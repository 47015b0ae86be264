"""How the programs start: a wrong setting is one sentence that names it, and exit code 2."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.pods import settings as front
from inference.process import Parts, load
from inference.settings import read
from tests.support.shared import ROOT


@pytest.mark.parametrize(
    ("name", "value", "of"),
    [
        ("GATEWAY_PORT", "abc", read),
        ("GATEWAY_PORT", "65536", read),
        ("GATEWAY_IDLE_SECONDS_MAX", "0", read),
        ("GATEWAY_LINK_URL", "nowhere", read),
        ("GATEWAY_REUSE_PORT", "perhaps", read),
        ("SSH_PORT", "abc", front.read),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    of: Callable[..., object],
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(of)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name} is wrong: ")


def test_what_is_set_is_read_and_what_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "GATEWAY_REUSE_PORT": "true",
        "GATEWAY_IDLE_SECONDS_MAX": "1.5",
        "GATEWAY_SPOOL_DIR": "/tmp/spool",
        "GATEWAY_PORT": "",
        "GATEWAY_LINK_CERTIFICATE": "",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = read()
    assert (found.gateway_reuse_port, found.gateway_idle_seconds_max) == (True, 1.5)
    assert (found.gateway_spool_dir, found.gateway_port) == (Path("/tmp/spool"), 8080)
    assert (found.gateway_link_certificate, found.takes_links) == (None, False)


def test_a_gateway_that_is_asked_to_take_links_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LINK_PORT", "0")
    assert read().takes_links


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(read(gateway_token="secret"))


def test_what_is_chosen_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "1")
    monkeypatch.setenv("SSH_PORT", "2")
    assert load(read, gateway_port=7, gateway_host=None).gateway_port == 7
    assert load(front.read).ssh_port == 2


def test_a_gateway_loads_nothing_that_it_does_not_use() -> None:
    """Each of these would be 1 to 10 MiB of every process."""
    program = "import sys, inference.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    unwanted = {"pydantic", "pydantic_settings", "rich", "greenlet", "fastapi", "httpx", "yaml"}
    assert unwanted & set(loaded.stdout.split()) == set()


async def test_a_part_that_dies_stops_the_service_and_what_it_said_is_not_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def dies() -> None:
        raise KeyError("a secret")

    async def ends() -> None:
        pass

    async def lasts() -> None:
        await asyncio.Event().wait()

    stopped = asyncio.Event()
    calm = Parts(stopped.set)
    calm.start(ends())
    calm.start(lasts())
    await asyncio.sleep(0)
    await calm.end()
    assert (calm.failed, stopped.is_set()) == (False, False)

    parts = Parts(stopped.set)
    parts.start(lasts())
    parts.start(dies())
    await asyncio.wait_for(stopped.wait(), 5)
    await parts.end()
    assert parts.failed
    said = capsys.readouterr()
    assert "part_died" in said.out + said.err
    assert "KeyError" in said.out + said.err
    assert "a secret" not in said.out + said.err
