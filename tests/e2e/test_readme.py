"""README.md followed word for word by a stranger: a fresh clone, an empty home, its commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import command
from tests.support.shared import ROOT
from tests.support.terminal import CTRL_C, Terminal
from tests.support.wait import until

pytestmark = pytest.mark.feature("P1")
PAGE = (ROOT / "README.md").read_text()
PORTS = (8000, 8080, 8081, 2222)  # those that the README names, and those beside them
UP_SECONDS_MAX, STOP_SECONDS_MAX, COMMAND_SECONDS_MAX = 300, 30, 300
# How this machine reaches its package index, and what it has fetched from there before.
KEPT = ("PATH", "LANG", "PIP_", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Stranger:
    """Somebody who has cloned the repository and reads its first page."""

    def __init__(self, folder: Path) -> None:
        self.clone, home = folder / "ganglion", folder / "home"
        home.mkdir()
        cache = Path(os.environ.get("PIP_CACHE_DIR", Path.home() / ".cache" / "pip"))
        kept = {name: text for name, text in os.environ.items() if name.upper().startswith(KEPT)}
        self.environment = {**kept, "HOME": str(home), "PIP_CACHE_DIR": str(cache)}
        subprocess.run(["git", "clone", "--quiet", ROOT, self.clone], check=True)

    def terminal(self, line: str) -> Terminal:
        return Terminal(line, self.clone, self.environment)

    def types(self, line: str, text: str = "") -> str:
        """What a command that ends by itself prints; it must succeed."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.clone,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def command_line(beginning: str) -> str:
    """The first line of the page's commands that begins so, as it stands there."""
    lines = "".join(blocks("sh")).splitlines()
    return next(line for line in lines if line.startswith(beginning))


def busy_ports() -> list[int]:
    found = []
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    if found := busy_ports():
        pytest.skip(f"something else listens on {found}, which the README names")
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    yield Stranger(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(stranger: Stranger) -> Iterator[Terminal]:
    """The first command of the page, on a terminal."""
    terminal = stranger.terminal(command_line("make run"))
    yield terminal
    print(terminal.shown)
    terminal.close()


@pytest.mark.long
@pytest.mark.xdist_group("second")
async def test_the_first_page_followed_word_for_word(stranger: Stranger, run: Terminal) -> None:
    await until(lambda: is_up(run), UP_SECONDS_MAX, every=0.2)
    curl = next(line for line in run.shown.splitlines() if line.startswith("curl "))
    if shutil.which("curl") is not None:
        answer = json.loads(stranger.types(curl))
        assert "stand-in" in answer["choices"][0]["message"]["content"]
    key = re.search(r"gk_[\w-]+", curl)
    assert key is not None
    [example] = blocks("python")
    assert "gk_…" in example
    printed = stranger.types(".venv/bin/python -", example.replace("gk_…", key[0]))
    print(printed)
    assert "ChatCompletion(" in printed
    assert "stand-in" in printed

    run.press(CTRL_C)
    assert run.wait(STOP_SECONDS_MAX) in (0, -signal.SIGINT)
    assert "Stopped in" in run.shown
    assert "Traceback" not in run.shown
    assert busy_ports() == []

    told = stranger.types(command_line("make demo"))
    print(told)
    assert "SIMULATED" in told.upper()
    stranger.types("make clean")
    left = {path.name for path in stranger.clone.iterdir()} & {".venv", ".ganglion", ".cache"}
    assert left == set()


def is_up(run: Terminal) -> bool:
    up = "Ctrl-C stops it" in run.shown
    if not up and run.process.poll() is not None:
        pytest.fail(f"it ended: {run.shown}")
    return up


def test_the_command_lists_all_that_the_page_names(tmp_path: Path) -> None:
    named = PAGE.partition("lists all:")[2].partition("Tables for people")[0]
    names = re.findall(r"`([a-z-]+)`", named)
    listed = command(tmp_path / "home", "--help").stdout
    assert len(names) > 30
    assert [name for name in names if not re.search(rf"│ {name} ", listed)] == []


def test_every_page_that_it_points_to_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE)
    assert len(linked) > 20
    assert [place for place in linked if not (ROOT / place).is_file()] == []
