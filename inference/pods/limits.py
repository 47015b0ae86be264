"""How many at once, by name: of an address, of a pod. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

NS = 1_000_000_000


class Counts:
    """Counts what is held for each name, up to a maximum; names without any are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, int] = {}
        self.total = 0

    def take(self, name: str) -> bool:
        """True when one more is held for this name."""
        held = self._held.get(name, 0)
        if held >= self._most:
            return False
        self._held[name] = held + 1
        self.total += 1
        return True

    def give(self, name: str) -> None:
        """One that was taken is over."""
        held = self._held.get(name, 0)
        assert held > 0, "given back once"
        self.total -= 1
        if held == 1:
            del self._held[name]
        else:
            self._held[name] = held - 1


class Failures:
    """Failed log-ins of each address within the present minute; the oldest names are forgotten."""

    NAMES_MAX = 10_000
    WINDOW_NS = 60 * NS

    def __init__(self, most: int, now_ns: Callable[[], int]) -> None:
        self._most = most
        self._now_ns = now_ns
        self._seen: OrderedDict[str, tuple[int, int]] = OrderedDict()  # since when, how many

    def add(self, name: str) -> None:
        since, count = self._window(name)
        self._seen[name] = (since, count + 1)
        self._seen.move_to_end(name)
        while len(self._seen) > self.NAMES_MAX:
            self._seen.popitem(last=False)

    def too_many(self, name: str) -> bool:
        return self._window(name)[1] >= self._most

    def _window(self, name: str) -> tuple[int, int]:
        now_ns = self._now_ns()
        since, count = self._seen.get(name, (now_ns, 0))
        return (since, count) if now_ns - since < self.WINDOW_NS else (now_ns, 0)
