"""The fake cloud's memory: one file under one lock, for every process of the installation."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

MACHINES_MAX = 200


class Rented(msgspec.Struct):
    """One machine. It is down while ``up_ns`` lies ahead; ``ends_ns`` is when it will be gone."""

    machine_id: str
    tag: str
    kind: str
    gpus: int
    made_ns: int
    up_ns: int
    started: bool = False  # its program was started
    stopped: bool = False
    failed: bool = False
    ends_ns: int = 0  # 0: its end was not asked for


class Memory(msgspec.Struct):
    """``met``: how often each fault was met, by its name; ``told``: faults added while it runs."""

    number: int = 0
    machines: dict[str, Rented] = {}
    met: dict[str, int] = {}
    told: list[str] = []


class Disk:
    """The folder of one fake cloud. Nothing waits for long while it is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def opened(self) -> Iterator[Memory]:
        """The memory, alone; what was changed is kept, whether or not the block raises."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.utime(lock.fileno())  # the machines' watches look when it was asked last
            memory = self._read()
            before = msgspec.json.encode(memory)
            try:
                yield memory
            finally:
                after = msgspec.json.encode(memory)
                if after != before:
                    self._write(after)

    def home(self, machine_id: str) -> Path:
        return self.folder / "machines" / machine_id

    def _read(self) -> Memory:
        path = self.folder / "cloud.json"
        if not path.exists():
            return Memory()
        return msgspec.json.decode(path.read_bytes(), type=Memory)

    def _write(self, content: bytes) -> None:
        """Whole or not at all: a process may die here."""
        path = self.folder / f"cloud.json.{os.getpid()}"
        path.write_bytes(content)
        path.replace(self.folder / "cloud.json")
