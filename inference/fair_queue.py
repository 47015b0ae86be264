"""Requests in line: bounded in number and bytes, fair between accounts. Pure.

Each place (a deployment) has a line for each account; ``take`` goes around the accounts. When it is
full, who has the most gives way, the newest first: longest queue drop (Suter et al. 1998), so that
an account that floods cannot keep others out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    place: str
    account: str
    size: int
    since_ns: int
    item: T


@dataclass(slots=True)
class _Share:
    """What an account has in line, over all places."""

    count: int = 0
    size: int = 0


class FairQueue(Generic[T]):
    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._lines: dict[str, OrderedDict[str, deque[Entry[T]]]] = {}
        self._shares: dict[str, _Share] = {}
        self.count = 0
        self.size = 0

    def add(self, entry: Entry[T]) -> list[Entry[T]]:
        """Stand in line. Returns who has to go for it, which may be the newcomer."""
        self._lines.setdefault(entry.place, OrderedDict()).setdefault(
            entry.account, deque()
        ).append(entry)
        self._book(entry, 1)
        out = []
        while self.count > self._count_max or self.size > self._bytes_max:
            out.append(self._yielding(entry.account))
            self.remove(out[-1])
        return out

    def take(self, place: str) -> Entry[T] | None:
        """The first in line of the account whose turn it is."""
        accounts = self._lines.get(place)
        if not accounts:
            return None
        account, line = accounts.popitem(last=False)
        entry = line.popleft()
        if line:
            accounts[account] = line  # behind the others
        self._book(entry, -1)
        self._tidy(place)
        return entry

    def remove(self, entry: Entry[T]) -> bool:
        """It leaves the line; false when it is in none."""
        accounts = self._lines.get(entry.place, OrderedDict())
        line = accounts.get(entry.account, deque())
        if entry not in line:
            return False
        line.remove(entry)
        if not line:
            del accounts[entry.account]
        self._book(entry, -1)
        self._tidy(entry.place)
        return True

    def places(self) -> list[str]:
        return list(self._lines)

    def length(self, place: str) -> int:
        return sum(len(line) for line in self._lines.get(place, {}).values())

    def entries(self) -> Iterator[Entry[T]]:
        """All, in no order; the line may change meanwhile."""
        for accounts in list(self._lines.values()):
            for line in list(accounts.values()):
                yield from list(line)

    def _yielding(self, newcomer: str) -> Entry[T]:
        """The newest of the account that has the most of what is short; among equals, the
        newcomer's own."""
        by_count = self.count > self._count_max

        def has(account: str) -> tuple[int, bool]:
            share = self._shares[account]
            return share.count if by_count else share.size, account == newcomer

        account = max(self._shares, key=has)
        lines = [accounts[account] for accounts in self._lines.values() if account in accounts]
        return max((line[-1] for line in lines), key=lambda entry: entry.since_ns)

    def _book(self, entry: Entry[T], sign: int) -> None:
        share = self._shares.setdefault(entry.account, _Share())
        share.count += sign
        share.size += sign * entry.size
        self.count += sign
        self.size += sign * entry.size
        if not share.count:
            del self._shares[entry.account]

    def _tidy(self, place: str) -> None:
        if not self._lines.get(place, True):
            del self._lines[place]
