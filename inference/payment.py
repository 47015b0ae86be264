"""The money side of one pool request: held before it goes out, counted while it runs, held
further as it goes on, settled when it is over.
"""

from __future__ import annotations

from collections.abc import Callable

from inference.gateway import Gateway
from inference.links import Links
from inference.meter import Tokens
from inference.route import Replica
from inference.slices import Hold, Waiter, out_of_credit
from inference.snapshot import Account
from inference.tab import Tab
from kernel.errors import GanglionError, OutOfCredit
from kernel.wire.gateway import DeploymentRow, KeyRow

Told = Callable[[GanglionError | None], None]


class Payment:
    """``hold`` once; then ``enter`` and ``leave`` for each try, ``cut`` meanwhile; ``close``."""

    __slots__ = ("_account", "_gateway", "_key", "_name", "_row", "_tab", "_told", "_waiter")

    def __init__(
        self, gateway: Gateway, account: Account, key: KeyRow, row: DeploymentRow, name: str
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._key = key
        self._row = row
        self._name = name
        self._tab: Tab[Links] | None = None
        self._waiter: Waiter | None = None
        self._told: Told | None = None

    @property
    def slice_id(self) -> str | None:
        """The slice that the next piece is held against."""
        return (self._tab.hold.slice.slice_id or None) if self._tab is not None else None

    def hold(self, need: int, told: Told) -> None:
        """Calls ``told`` at once or within a second: with ``None`` when the money is held."""
        now_ns = self._gateway.now_ns()
        self._told = told
        purse = self._account.purse
        hold = purse.take(need, now_ns)
        if hold is not None:
            self._held(hold)
        elif purse.refused(now_ns):
            told(out_of_credit())
        else:
            self._wait(need, now_ns)

    def enter(self, replica: Replica[Links], now_ns: int, weight: int) -> None:
        """The request goes out to a replica."""
        if self._tab is not None:
            self._tab.enter(replica, now_ns, weight)

    def cut(self, now_ns: int, told: Told) -> None:
        """Count up to now and hold for the next piece. ``told`` hears of each change: an error
        ends the request; ``None``: the next piece is held against another slice."""
        tab, limit = self._tab, self._key.cost_limit_nano
        if tab is None:
            return
        least_ns = 2 * self._gateway.window_ns  # the next cut may come late
        funded = tab.cut(now_ns, least_ns)
        if limit and tab.cost >= limit:
            told(OutOfCredit("This request reached the cost limit of its key."))
        elif not funded and self._waiter is None:
            self._told = told
            self._wait(tab.need(least_ns), now_ns)

    def leave(self, now_ns: int) -> None:
        """The worker's part is over; another replica may follow."""
        if self._tab is not None:
            self._tab.leave(now_ns)

    def close(self, now_ns: int, tokens: Tokens | None) -> None:
        """The request is over: what it used is settled, the rest is free again."""
        if self._waiter is not None:
            self._account.purse.leave(self._waiter)
            self._waiter = None
        if self._tab is not None:
            self._tab.close(now_ns, tokens)
            self._tab = None

    def _wait(self, need: int, now_ns: int) -> None:
        self._waiter = Waiter(need, now_ns + self._gateway.slice_wait_ns, self._answered)
        self._account.purse.waiters.append(self._waiter)
        self._gateway.funding.ask(self._account)

    def _answered(self, answer: Hold | GanglionError) -> None:
        self._waiter = None
        assert self._told is not None
        if isinstance(answer, GanglionError):
            self._told(answer)
        else:
            self._held(answer)

    def _held(self, hold: Hold) -> None:
        if self._tab is None:
            self._tab = Tab(self._name, self._row, hold)
        else:
            self._tab.move(hold, self._gateway.now_ns())
        assert self._told is not None
        self._told(None)
