"""Emulated clouds on a port, and the vendors' own command lines run against them.

A command line is loaded once and forked for each command: its start-up is most of its time.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.child import die_with_parent
from standins.clouds.asgi import App
from standins.clouds.rules import Rules
from standins.clouds.serve import Front

COMMAND_SECONDS_MAX = 240  # on a machine that is busy with other tests
AT_ONCE = Rules(
    accept_seconds=(0.0, 0.0),
    boot_seconds=(0.0, 0.0),
    terminate_seconds=(0.0, 0.0),
    listing_lag_seconds=0.0,
    rate_limits=False,
)
FORKS = """
import importlib, json, os, sys, tempfile
module, name = sys.argv[1], sys.argv[2]
entry = getattr(importlib.import_module(module), name)
for each in sys.argv[3:]:
    importlib.import_module(each)
answers = os.fdopen(os.dup(1), "w", buffering=1)
for line in sys.stdin:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            code = 1
            try:
                sys.argv = json.loads(line)
                code = entry() or 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                import traceback; traceback.print_exc()
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        print(json.dumps([code, out.read(), err.read()]), file=answers)
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def listener() -> socket.socket:
    """A port that stays ours from one test to the next."""
    return socket.create_server(("127.0.0.1", 0))


def address(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def served(app: App, listening: socket.socket) -> AsyncIterator[str]:
    """The app on a port; its address."""
    front = Front(app.shell)
    server = await asyncio.start_server(front.connected, sock=listening.dup())
    try:
        yield address(listening)
    finally:
        server.close()
        await front.close()


def environment(home: Path, pointers: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this machine's own, wide tables, no look for newer versions."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "TMPDIR": str(home),
        "COLUMNS": "300",
        "NO_COLOR": "1",
        "VASTAI_NO_UPDATE_CHECK": "1",
        **pointers,
    }


class CommandLine:
    """A vendor's command line, pointed at one port: ``said = await vast("show", "user")``."""

    def __init__(
        self,
        python: Path,
        name: str,
        entry: Sequence[str],
        env: Mapping[str, str],
        listening: socket.socket,
    ) -> None:
        self.python, self.env, self.listening = python, dict(env), listening
        self._name = name
        self._process = subprocess.Popen(
            [python, "-c", FORKS, *entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.env,
            preexec_fn=die_with_parent(),
        )

    async def __call__(self, *arguments: str) -> Said:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([self._name, *arguments]).encode() + b"\n")
        stdin.flush()
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            line = await asyncio.to_thread(stdout.readline)
        assert line, f"{self._name} could not be loaded"
        return Said(*json.loads(line))

    async def good(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        said = await self(*arguments)
        assert said.code == 0, said
        return said.out

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self.listening.close()


async def run(python: Path, code: str, env: Mapping[str, str], *arguments: str) -> str:
    """What a script prints that uses the vendor's library."""
    process = await asyncio.create_subprocess_exec(
        python,
        "-c",
        code,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
    )
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
