"""What agents tell of links that ended before the worker said a byte: had it taken the request?"""

from __future__ import annotations

from collections.abc import Callable

from kernel.clock import NS

WAIT_NS = NS // 2  # an agent that says nothing for so long knows nothing
EARLY_MAX = 64  # told before they were asked for; more are forgotten, the oldest first
Told = Callable[[bool | None], None]  # None: nobody knows


class Fates:
    """Of the links of one lease, by their numbers. ``told``: its agent tells them."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.told = False
        self._now_ns = now_ns
        self._early: dict[int, bool] = {}
        self._asked: dict[int, tuple[int, Told]] = {}  # with when to give up

    def ask(self, number: int, told: Told) -> bool:
        """``told`` is called once, at once or later; never when this is false."""
        if not self.told:
            return False
        if number in self._early:
            told(self._early.pop(number))
        else:
            self._asked[number] = self._now_ns() + WAIT_NS, told
        return True

    def take(self, number: int, *, begun: bool) -> None:
        """The agent's word. It may overtake the loss of the link itself."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            asked[1](begun)
            return
        self._early[number] = begun
        if len(self._early) > EARLY_MAX:
            del self._early[next(iter(self._early))]

    def sweep(self, now_ns: int) -> None:
        for number, (until_ns, told) in list(self._asked.items()):
            if now_ns > until_ns:
                del self._asked[number]
                told(None)

    def lost(self) -> None:
        """The control link is gone, and with it what it would have said."""
        self.told = False
        self._early.clear()
        asked, self._asked = self._asked, {}
        for _, told in asked.values():
            told(None)
