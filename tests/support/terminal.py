"""A program on a terminal of its own: what a person sees there, and the keys that they press."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from cli.embedded.child import die_with_parent
from tests.support.wait import pause

CTRL_C = b"\x03"
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLUMNS = "200"
CLOSE_SECONDS_MAX = 30


class Terminal:
    """``line`` is given to a shell. It ends with us."""

    def __init__(self, line: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        tie = die_with_parent(signal.SIGTERM)

        def become() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # its keys then reach the foreground group
            tie()

        self.process = subprocess.Popen(
            ["sh", "-c", line],
            cwd=folder,
            env={**environment, "TERM": "xterm", "COLUMNS": COLUMNS},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=become,
        )
        os.close(theirs)
        self._seen: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    @property
    def shown(self) -> str:
        """All that it showed, without colours."""
        text = b"".join(self._seen).decode(errors="replace")
        return STYLE.sub("", text).replace("\r\n", "\n")

    def wait(self, seconds: float) -> int:
        """Its exit code; ``shown`` is then whole."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def close(self) -> None:
        """Whatever still runs on it is ended: a shell or make may end before what they started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()
        deadline = time.monotonic() + CLOSE_SECONDS_MAX
        while self._has_more() and time.monotonic() < deadline:
            pause(0.05)
        os.close(self._ours)

    def _has_more(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # the last that held its other end is gone
                return
            if not chunk:
                return
            self._seen.append(chunk)
