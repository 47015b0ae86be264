"""The child process that alone talks to NVML, so that a hung driver hangs nobody else.

It answers each line on stdin with one line of JSON on stdout, and ends with its parent. The line
``all`` asks for everything; any other for what changes from second to second, the rest as it was.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import msgspec
import pynvml
from msgspec import Struct
from msgspec.structs import replace

from kernel.wire.agent import GpuReading
from node_agent.gpu_fields import Process, asked, processes, quick, slow, text

XIDS_A_READING_MAX = 64
WHOLE = b"all\n"


class ChildAnswer(Struct):
    """``absent`` tells why there is nothing to read; empty = it was read.

    ``xids``: by UUID, the numbers of the XIDs since the answer before, in their order.
    """

    absent: str = ""
    driver_version: str = ""
    gpus: list[GpuReading] = []
    processes: dict[str, list[Process]] = {}
    xids: dict[str, list[int]] = {}


class Nvml:
    """One session with the library; remembers who was at which index.

    A GPU that fell off the bus comes back only to a new session, so a session that lost one is
    closed and opened anew at the next whole reading.
    """

    def __init__(self) -> None:
        self._open = False
        self._known: dict[int, GpuReading] = {}
        self._slow: dict[str, dict[str, Any]] = {}
        self._events: Any = None
        self._watched: dict[int, str] = {}  # UUID by the handle's address
        self._incomplete = False
        self._most = 0  # GPUs that were here once

    def read(self, *, whole: bool) -> ChildAnswer:
        if whole and self._incomplete:
            self._close()
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
                self._incomplete = False
                self._known.clear()
            count = int(pynvml.nvmlDeviceGetCount())
            driver = text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            self._close()
            return ChildAnswer(absent=str(error))
        answer = ChildAnswer("", driver)
        for index in range(count):
            self._read_one(index, answer, whole=whole)
        self._most = max(self._most, count)
        self._incomplete |= count < self._most
        answer.xids = self._new_xids()
        return answer

    def _read_one(self, index: int, answer: ChildAnswer, *, whole: bool) -> None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            reading = quick(handle)
            if whole or reading.uuid not in self._slow:
                self._slow[reading.uuid] = slow(handle)
                self._watch(handle, reading.uuid)
            answer.processes[reading.uuid] = found = processes(handle)
        except pynvml.NVMLError:
            self._incomplete = True
            if (known := self._known.get(index)) is not None:
                answer.gpus.append(replace(known, lost=True))
            return
        kept = self._slow[reading.uuid]
        reading = replace(reading, process_count=len(found), **kept)
        self._known[index] = reading
        answer.gpus.append(reading)

    def _watch(self, handle: Any, uuid: str) -> None:
        """Ask to be told of XIDs from now on. Cards and drivers that have none are left alone."""
        address = _address(handle)
        if self._watched.get(address) == uuid:
            return
        kinds = asked(pynvml.nvmlDeviceGetSupportedEventTypes, handle) or 0
        if not kinds & pynvml.nvmlEventTypeXidCriticalError:
            return
        if self._events is None:
            self._events = asked(pynvml.nvmlEventSetCreate)
        if self._events is None:
            return
        wanted = pynvml.nvmlEventTypeXidCriticalError
        try:
            pynvml.nvmlDeviceRegisterEvents(handle, wanted, self._events)
        except pynvml.NVMLError:
            return
        self._watched[address] = uuid

    def _new_xids(self) -> dict[str, list[int]]:
        """What has gathered since the last time; never waits."""
        found: dict[str, list[int]] = {}
        for _ in range(XIDS_A_READING_MAX if self._events is not None else 0):
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value != pynvml.NVML_ERROR_TIMEOUT:
                    self._incomplete = True  # such as "GPU is lost": the set is of no more use
                break
            uuid = self._watched.get(_address(event.device))
            if uuid is not None and event.eventType & pynvml.nvmlEventTypeXidCriticalError:
                found.setdefault(uuid, []).append(int(event.eventData))
        return found

    def _close(self) -> None:
        if self._events is not None:
            asked(pynvml.nvmlEventSetFree, self._events)
        self._events = None
        self._watched.clear()
        if self._open:
            asked(pynvml.nvmlShutdown)
        self._open = False


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def main() -> None:
    nvml = Nvml()
    for line in sys.stdin.buffer:
        answer = nvml.read(whole=line == WHOLE)
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
