"""Single programs by the command, as a person types them: the agent, and the gateway alone."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import warm
from tests.support.installation import command, environment
from tests.support.shared import ROOT
from tests.support.standin import StartStandIn
from tests.support.wait import free_port, until
from tests.support.warm import Forked

PAGE = (ROOT / "docs" / "gateway.md").read_text()
KEY = "gk_0123456789012345678901234567890123456789abc"


@pytest.fixture
def script() -> list[str]:
    """What the page has a person type for a gateway alone, line by line."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if "cat > snapshot.json" in block).splitlines()


@pytest.fixture
def gateway(
    script: list[str], stand_in_worker: StartStandIn, tmp_path: Path
) -> Iterator[tuple[Forked, int]]:
    """The page's file and its last line, at ports that are free; its process and its port."""
    worker, port = stand_in_worker(model="m"), free_port()
    making = "\n".join(script[1:-1]).replace("9001", worker.url.rpartition(":")[2])
    subprocess.run(["sh", "-euc", making], cwd=tmp_path, check=True, timeout=20)
    arguments = shlex.split(script[-1].removesuffix("&").replace("8080", str(port)))[1:]
    own = environment(tmp_path / "home", {"GATEWAY_SPOOL_DIR": str(tmp_path / "spool")})
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    process = warm.start("command", arguments, environment=own, output=log, folder=tmp_path)
    os.close(log)
    yield process, port
    process.kill()
    process.wait()


async def test_a_gateway_runs_alone_as_the_page_says(
    gateway: tuple[Forked, int], tmp_path: Path
) -> None:
    process, port = gateway
    await until(lambda: '"listening"' in (tmp_path / "log").read_text())
    url, who = f"http://127.0.0.1:{port}", {"authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{url}/health/ready", timeout=30).status_code == 200
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{url}/v1/chat/completions", headers=who, json=asked, timeout=30)
    assert answer.json()["choices"][0]["message"]["content"], answer.text
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_an_agent_without_a_token_says_what_is_missing(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "agent", extra={"AGENT_HOME": str(tmp_path / "agent")})
    assert done.returncode == 1
    assert "start the agent with --join-token" in done.stderr


def test_an_agent_with_a_wrong_setting_names_it(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "agent", extra={"AGENT_ENGINE": "steam"})
    assert done.returncode == 1
    assert "The setting AGENT_ENGINE is wrong" in done.stderr
