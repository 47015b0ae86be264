"""argon2id in threads of its own: a hash takes tens of milliseconds and must not stop the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from kernel.errors import Unavailable

T = TypeVar("T")

# OWASP's figures for argon2id; 19 MiB a hash keeps a flood of log-ins from filling the memory.
TIME_COST = 2
MEMORY_KIB = 19 * 1024
AT_ONCE_MAX = 2
WAITING_MAX = 200


class Passwords:
    """``verify`` takes as long for an unknown user as for a wrong password."""

    def __init__(self, *, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="argon2")
        self._nobody = self._hasher.hash("the password of nobody")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Is this the password? With ``stored`` None: no, after the same time."""
        same = await self._run(lambda: self._same(stored or self._nobody, password))
        return same and stored is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _same(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Unavailable("Too many log-ins at once; try again.", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
