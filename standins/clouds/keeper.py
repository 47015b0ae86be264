"""The first process of one emulated machine: runs its program, and takes all down at its end.

Run as ``python -I -S keeper.py ENDS_MACHINE COMMAND…`` with a pipe as standard input. When the
pipe closes (the machine's end, or the emulator's death) every process of the machine is killed,
whatever session it fled to: they are this process's children, its orphans too. SIGTERM is the
machine's own power switch. It imports nothing of the product: one is started for each machine.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36
OWN_PID = "STAND_IN_KEEPER"  # tells the machine's `shutdown` whom to ask
ROUNDS_MAX = 1000


def main(arguments: list[str]) -> int:
    ends_machine, command = arguments[0] == "1", arguments[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        program = _spawn(command)
    except OSError as wrong:
        sys.stderr.write(f"cannot start {command[0]}: {wrong}\n")
        return 127
    code = None
    while code is None or not ends_machine:
        ready, _, _ = select.select([0, woken], [], [])
        if 0 in ready and not os.read(0, 1024):
            code = -signal.SIGKILL
            break
        if woken in ready and signal.SIGTERM in os.read(woken, 1024):
            code = 0
            break
        code = _reap(program, code)
    _kill_all()
    return code if code >= 0 else 128 - code


def _spawn(command: list[str]) -> int:
    null = os.open(os.devnull, os.O_RDONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0)]
    environment = {**os.environ, OWN_PID: str(os.getpid())}
    return os.posix_spawnp(command[0], command, environment, file_actions=actions)


def _reap(program: int, code: int | None) -> int | None:
    """Bury every child that ended; the program's exit code once it is known."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
    return code


def _kill_all() -> None:
    """Children of the killed become ours: rounds until none is left."""
    own = os.getpid()
    for _ in range(ROUNDS_MAX):
        children = [pid for pid in _pids() if _parent(pid) == own]
        if not children:
            return
        for pid in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
