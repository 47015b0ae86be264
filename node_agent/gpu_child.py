"""The child process that alone talks to NVML, so that a hung driver hangs nobody else.

It answers each line on stdin with one line of JSON on stdout, and ends with its parent. The line
``all`` asks for everything; any other for what changes from second to second, the rest as it was.

The answer is an object: ``absent``, why there is nothing to read (empty = it was read);
``driver_version``; ``gpus``, each an object of fields; ``processes`` by UUID; ``xids``, by UUID
the numbers of the XIDs since the answer before, in their order.

It runs beside the agent for ever, so it loads next to nothing: no wire, no typing, no msgspec.
"""

from __future__ import annotations

import ctypes
import json
import sys

# The binding imports one name of it, which it never uses; with it come subprocess and tempfile.
_unused = type(sys)("ctypes.util")
_unused.__dict__["find_library"] = None
sys.modules.setdefault("ctypes.util", _unused)

import pynvml  # noqa: E402

from node_agent.gpu_fields import asked, processes, quick, slow, text  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not loaded
    from typing import Any

XIDS_A_READING_MAX = 64
WHOLE = b"all\n"


class Nvml:
    """One session with the library; remembers who was at which index.

    A GPU that fell off the bus comes back only to a new session, so a session that lost one is
    closed and opened anew at the next whole reading.
    """

    def __init__(self) -> None:
        self._open = False
        self._known: dict[int, dict[str, Any]] = {}
        self._slow: dict[str, dict[str, Any]] = {}
        self._events: Any = None
        self._watched: dict[int, str] = {}  # UUID by the handle's address
        self._incomplete = False
        self._most = 0  # GPUs that were here once

    def read(self, *, whole: bool) -> dict[str, Any]:
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
            return {"absent": str(error)}
        gpus: list[dict[str, Any]] = []
        using: dict[str, list[tuple[int, int | None]]] = {}
        for index in range(count):
            self._read_one(index, gpus, using, whole=whole)
        self._most = max(self._most, count)
        self._incomplete |= count < self._most
        told = {"driver_version": driver, "gpus": gpus, "processes": using}
        return told | {"xids": self._new_xids()}

    def _read_one(
        self,
        index: int,
        gpus: list[dict[str, Any]],
        using: dict[str, list[tuple[int, int | None]]],
        *,
        whole: bool,
    ) -> None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            reading = quick(handle)
            uuid = reading["uuid"]
            if whole or uuid not in self._slow:
                self._slow[uuid] = slow(handle)
                self._watch(handle, uuid)
            using[uuid] = found = processes(handle)
        except pynvml.NVMLError:
            self._incomplete = True
            if (known := self._known.get(index)) is not None:
                gpus.append({**known, "lost": True})
            return
        reading = {**reading, **self._slow[uuid], "process_count": len(found)}
        self._known[index] = reading
        gpus.append(reading)

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
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
