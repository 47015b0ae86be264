"""Starting and stopping a child process that never outlives us."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """What a child runs before it becomes its program: the kernel signals it when we die.

    A parent that died between fork and prctl is seen by the changed parent id. The C library
    is loaded here, not in the child, where only calls safe after a fork may be made.
    """
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


async def spawn(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: int = asyncio.subprocess.DEVNULL,
    death_signal: signal.Signals = signal.SIGKILL,
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own, so that Ctrl-C reaches only its parent.

    ``output`` takes both of its streams: a file descriptor, ``PIPE`` or ``DEVNULL``.
    """
    return await asyncio.create_subprocess_exec(
        *[str(argument) for argument in arguments],
        env=None if environment is None else dict(environment),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT if output == asyncio.subprocess.PIPE else output,
        start_new_session=True,
        preexec_fn=die_with_parent(death_signal),
    )


async def stop(
    process: asyncio.subprocess.Process, signals: Sequence[tuple[signal.Signals, float]]
) -> int:
    """Send each signal and give it its seconds, then SIGKILL; the exit code. May be repeated."""
    for sign, seconds in signals:
        if process.returncode is not None:
            break
        send(process, sign)
        try:
            return await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            continue
    if process.returncode is None:
        send(process, signal.SIGKILL)
    return await process.wait()


def send(process: asyncio.subprocess.Process, sign: signal.Signals) -> None:
    """Signal a child that may be gone already."""
    try:
        process.send_signal(sign)
    except ProcessLookupError:
        return


def state_of(pid: int) -> str | None:
    """The kernel's letter for a process (``R``, ``S``, ``Z`` …), or None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    """Running, and not a zombie that only waits to be reaped."""
    return state_of(pid) not in (None, "Z", "X")
