"""Programs of ours that are started often, without their imports each time: ``warm.start``.

A process of its own has imported the program and nothing else, and waits. Each start is a fork of
it, which takes the environment, folder and streams it is given and runs the program's ``main``.
What it runs is the program; what it spares is half a second of a core. The tests of a start itself
run the program by its command line.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
MAIN = {
    "gateway": "inference.app",
    "agent": "node_agent.main",
    "command": "cli.main",
    "stand-in": "standins.worker.app",
    "cloud": "standins.clouds.serve",
    "stripe": "standins.payments.stripe.serve",
    "worlds": "tests.sim.forked",
}
# What cannot be changed once Python runs.
FIXED = {"worlds": {"PYTHONHASHSEED": "0"}}
# What its ``main`` imports only when it runs.
LATER = {
    "agent": ("node_agent.daemon",),
    "command": ("cli.client", "cli.credentials", "cli.output", "cli.settings", "rich.table"),
}
REQUEST_BYTES_MAX = 1 << 20
PR_SET_PDEATHSIG = 1


class Forked:
    """A running program; what ``subprocess.Popen`` offers, as far as it is used."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None  # for who started it to set
        self._line = line
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        found = self._ended(timeout)
        if found is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
        return found

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it may end between the look and the signal
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and _has_said(self._line, seconds):
                said = self._line.recv(16)
                self.returncode = int(said) if said else -int(signal.SIGKILL)
                self._line.close()
        return self.returncode


def _has_said(line: socket.socket, seconds: float | None) -> bool:
    """``select`` would take no file above the 1,024th, and tests hold thousands of connections."""
    look = select.poll()
    look.register(line, select.POLLIN)
    return bool(look.poll(None if seconds is None else seconds * 1000))


def start(
    program: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: int,
    errors: int | None = None,
    folder: Path = ROOT,
    text: str = "",
) -> Forked:
    """``output`` and ``errors`` are file descriptors. It reads ``text``, and ends with us."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(_waiting(program, os.getpid()))
    asked = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)}
    with tempfile.TemporaryFile() as told:
        told.write(text.encode())
        told.seek(0)
        streams = [told.fileno(), output, output if errors is None else errors]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        line.sendmsg([json.dumps(asked).encode()], rights)
    return Forked(int(line.recv(16)), line)


def start_that_says(program: str, arguments: Sequence[str]) -> Forked:
    """One that says on its output that it is ready; in our own environment."""
    read, written = os.pipe()
    made = start(program, arguments, environment=os.environ, output=written, errors=2)
    os.close(written)
    made.stdout = os.fdopen(read)
    return made


@cache
def _waiting(program: str, owner: int) -> str:
    """The address of the process that has imported it; it ends when this one does."""
    address = f"\0ganglion-warm-{program}-{owner}-{time.monotonic_ns()}"
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind(address)
    door.listen(64)
    ours, theirs = os.pipe()
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG", "TZ")}
    subprocess.Popen(
        [sys.executable, "-m", __name__, program, str(door.fileno()), str(ours)],
        cwd=ROOT,
        env={**kept, **FIXED.get(program, {}), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        pass_fds=(door.fileno(), ours),
        start_new_session=True,
    ).returncode = 0  # nobody waits for it
    os.close(ours)
    _KEPT.append(theirs)
    door.close()
    return address


_KEPT: list[int] = []


class _Warm:
    """Waits for starts, forks, and tells how each ended."""

    def __init__(self, program: str, door: socket.socket, life: int) -> None:
        self._main = MAIN[program]
        self._door = door
        self._life = life
        self._lines: dict[int, socket.socket] = {}
        self._woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        while True:
            asked: list[Any] = [self._door, self._life, self._woken]
            ready = select.select(asked, [], [])[0]
            if self._life in ready:
                os._exit(0)  # and the kernel ends all that were forked
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._reap()
            if self._door in ready:
                self._fork(self._door.accept()[0])

    def _reap(self) -> None:
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            line = self._lines.pop(pid)
            with suppress(OSError):  # nobody waits for it
                line.send(str(os.waitstatus_to_exitcode(status)).encode())
            line.close()

    def _fork(self, line: socket.socket) -> None:
        said, rights, _, _ = line.recvmsg(REQUEST_BYTES_MAX, socket.CMSG_SPACE(3 * 4))
        streams = array.array("i", rights[0][2]).tolist()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(json.loads(said), streams, parent)
        for stream in streams:
            os.close(stream)
        self._lines[pid] = line
        line.send(str(pid).encode())

    def _become(self, asked: dict[str, Any], streams: list[int], parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 1024)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        code: Any = 1
        try:
            sys.argv = [self._main, *asked["arguments"]]
            code = importlib.import_module(self._main).main()
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(code or 0))


def _main(program: str, door: int, life: int) -> None:
    gc.disable()
    main = importlib.import_module(MAIN[program])
    for name in getattr(main, "NOT_FOR_A_DAEMON", ()):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as its main does
    for module in LATER.get(program, ()):
        importlib.import_module(module)
    gc.enable()
    gc.freeze()
    with socket.socket(fileno=door) as here:
        _Warm(program, here, life).serve()


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
