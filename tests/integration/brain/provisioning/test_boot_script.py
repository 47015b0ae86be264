"""What a rented machine runs: nothing secret in the script, the code pinned, an end of its own."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from brain.clouds import Boot
from brain.provisioning.boot import boot
from brain.provisioning.code import agent_code
from tests.support.http_files import serving

TOKEN = "gj_a-secret"


def made(brain_url: str = "https://brain.example", ttl: int = 600) -> Boot:
    return boot(
        brain_url=brain_url,
        token=TOKEN,
        ttl_seconds=ttl,
        digest=hashlib.sha256(PROGRAM).hexdigest(),
        image="an/image",
    )


def packed(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("node_agent/__init__.py", "")
        archive.writestr("node_agent/main.py", text)
    return content.getvalue()


PROGRAM = packed("import os; print('agent of', os.environ['JOIN_TOKEN'])")


def run(one: Boot, home: Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        **one.env,
    }
    return subprocess.run(
        ["sh", "-c", one.script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_the_token_is_in_the_environment_alone() -> None:
    one = made()
    assert TOKEN not in one.script
    assert one.env["JOIN_TOKEN"] == TOKEN
    assert TOKEN not in one.env["BRAIN_URL"]


def test_the_code_is_the_same_bytes_each_time_and_holds_nothing_of_the_brain() -> None:
    first = agent_code()
    agent_code.cache_clear()
    assert agent_code() == first
    names = zipfile.ZipFile(io.BytesIO(first.content)).namelist()
    assert {name.split("/")[0] for name in names} == {"kernel", "node_agent", "standins"}
    assert "node_agent/main.py" in names


@pytest.mark.feature("B7")
def test_it_fetches_checks_and_starts_the_agent_and_ends_with_it(tmp_path: Path) -> None:
    with serving({"/agent/code": PROGRAM}) as url:
        done = run(made(url), tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"agent of {TOKEN}")


@pytest.mark.feature("B7")
def test_code_with_another_digest_never_runs(tmp_path: Path) -> None:
    with serving({"/agent/code": packed("print('someone else')")}) as url:
        done = run(made(url, ttl=1), tmp_path)
    assert "someone else" not in done.stdout
    assert "not the code" in done.stderr


@pytest.mark.feature("B7")
def test_without_a_brain_the_machine_ends_itself(tmp_path: Path) -> None:
    done = run(made("http://127.0.0.1:9", ttl=1), tmp_path)
    assert "not heard for 2 s" in done.stderr
