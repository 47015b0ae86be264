"""Real GPUs, read by a child process with a deadline: a hung driver is a state, not a hang."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from kernel.clock import NS
from kernel.wire.agent import GpuReading, NvmlState
from node_agent.gpu import GpuProcess, GpuView
from node_agent.gpu_xids import XidBook

log = structlog.get_logger(__name__)
CODE_ROOT = Path(__file__).resolve().parent.parent
STUCK_CHILDREN_MAX = 3  # children that even SIGKILL does not end, waiting inside the driver
ANSWER_BYTES_MAX = 1 << 20
EXIT_SECONDS_MAX = 2.0
WHOLE_SECONDS = 30.0  # between two readings of what changes seldom
REST_SECONDS_MAX = 60  # after a driver hung again and again
WHOLE, QUICK = b"all\n", b"quick\n"


class _Answer(msgspec.Struct):
    absent: str = ""
    driver_version: str = ""
    gpus: list[dict[str, Any]] = []
    processes: dict[str, list[tuple[int, int | None]]] = {}
    xids: dict[str, list[int]] = {}


class NvmlGpus:
    """Keeps one child; a child that is late is killed and replaced at the next reading.

    While the driver goes on hanging, replacements come after 0, 2, 4, 8 … 60 s.
    """

    def __init__(
        self,
        *,
        boot_ns: Callable[[], int],
        seconds_max: float = 5.0,
        whole_seconds: float = WHOLE_SECONDS,
        xids: XidBook | None = None,
    ) -> None:
        self._boot_ns = boot_ns
        self._seconds_max = seconds_max
        self._whole_ns = int(whole_seconds * NS)
        self._whole_at_ns: int | None = None
        self._xids = xids or XidBook()
        self._child: Process | None = None
        self._stuck: list[Process] = []
        self._hangs = 0
        self._rest_until_ns = 0
        self._known: dict[str, GpuReading] = {}
        self._last = GpuView(NvmlState.ABSENT)

    async def read(self) -> GpuView:
        at_ns = self._boot_ns()
        self._stuck = [child for child in self._stuck if child.returncode is None]
        if len(self._stuck) >= STUCK_CHILDREN_MAX:
            return self._hung("The driver holds the readers that were killed.")
        if at_ns < self._rest_until_ns:
            return self._hung(self._last.reason)
        whole = self._whole_at_ns is None or at_ns - self._whole_at_ns >= self._whole_ns
        try:
            async with asyncio.timeout(self._seconds_max):
                # One that died gets a successor.
                line = await self._ask(whole=whole) or await self._ask(whole=True)
        except TimeoutError:
            self._give_up_child()
            self._rest()
            return self._hung(f"NVML did not answer within {self._seconds_max:g} s.")
        self._hangs = 0
        if whole:
            self._whole_at_ns = at_ns
        self._last = self._view(line, at_ns)
        return self._last

    async def close(self) -> None:
        """End the child. One that the driver holds is left to the kernel."""
        self._give_up_child()
        try:
            async with asyncio.timeout(EXIT_SECONDS_MAX):
                for child in self._stuck:
                    await child.wait()
        except TimeoutError:
            log.warning("nvml_child_stuck", pids=[child.pid for child in self._stuck])

    async def _ask(self, *, whole: bool) -> bytes:
        """One line from the child; empty when it died instead of answering."""
        if self._child is None or self._child.returncode is not None:
            self._child = await self._spawn()
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(WHOLE if whole else QUICK)
            await child.stdin.drain()
            line = await child.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line:
            await child.wait()
            log.warning("nvml_child_died", code=child.returncode)
            self._child = None
        return line

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "node_agent.gpu_child",
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONPATH": str(CODE_ROOT)},
            start_new_session=True,  # a Ctrl-C is for the agent, which ends the child itself
            limit=ANSWER_BYTES_MAX,
        )

    def _give_up_child(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.kill()
            self._stuck.append(child)

    def _rest(self) -> None:
        """The first hang is tried again at once; each further one waits longer."""
        if self._hangs:
            seconds = min(1 << min(self._hangs, 6), REST_SECONDS_MAX)
            self._rest_until_ns = self._boot_ns() + seconds * NS
        self._hangs += 1

    def _hung(self, reason: str) -> GpuView:
        """What was read last, with its old time: it proves nothing about now."""
        self._last = replace_view(self._last, state=NvmlState.HUNG, reason=reason)
        return self._last

    def _view(self, line: bytes, at_ns: int) -> GpuView:
        if not line:
            return self._absent("The reader of NVML dies at once.", at_ns)
        try:
            answer = msgspec.json.decode(line, type=_Answer)
            read = [_reading(told) for told in answer.gpus]
        except (msgspec.MsgspecError, TypeError) as error:
            return self._absent(f"The reader of NVML answers nonsense: {error}.", at_ns)
        if answer.absent:
            return self._absent(answer.absent, at_ns)
        gpus = self._xids.mark(read, answer.xids)
        self._known |= {gpu.uuid: gpu for gpu in gpus}
        present = {gpu.uuid for gpu in gpus}
        missing = [replace(gpu, lost=True) for u, gpu in self._known.items() if u not in present]
        processes = {
            uuid: tuple(GpuProcess(pid, mib) for pid, mib in found)
            for uuid, found in answer.processes.items()
        }
        driver = answer.driver_version or None
        return GpuView(
            NvmlState.OK, (*gpus, *missing), at_ns, driver, _about(missing), processes=processes
        )

    def _absent(self, reason: str, at_ns: int) -> GpuView:
        lost = tuple(replace(gpu, lost=True) for gpu in self._known.values())
        return GpuView(NvmlState.ABSENT, lost, at_ns, None, reason)


def _reading(told: dict[str, Any]) -> GpuReading:
    """Of fields by their names, checked as on the wire; ``MsgspecError`` or ``TypeError``."""
    return msgspec.convert(msgspec.to_builtins(GpuReading(**told)), GpuReading)


def _about(missing: list[GpuReading]) -> str:
    if not missing:
        return ""
    return f"The driver does not show {', '.join(gpu.uuid for gpu in missing)} any more."


def replace_view(view: GpuView, *, state: NvmlState, reason: str) -> GpuView:
    return GpuView(state, view.gpus, view.read_ns, view.driver_version, reason)
