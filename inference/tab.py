"""What a pool request may have cost so far, set against what is held for it. Pure.

The gateway sees only its own requests, so its share of a replica's time is an upper bound: others
can only make it cheaper.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from inference.admission import cost_nano, piece_nano
from inference.route import Replica
from inference.slices import Hold, raise_to, settle
from kernel.gpu_time import Sharing
from kernel.wire.gateway import DeploymentRow

LinksT = TypeVar("LinksT")


class Tab(Generic[LinksT]):
    """Opened with a hold; runs while the request is resident; closed once."""

    __slots__ = ("_name", "_paid", "_replica", "_row", "hold", "ticks")

    def __init__(self, name: str, row: DeploymentRow, hold: Hold) -> None:
        self._name = name
        self._row = row
        self._replica: Replica[LinksT] | None = None
        self._paid = 0  # settled against earlier holds
        self.hold = hold
        self.ticks = 0

    @property
    def cost(self) -> int:
        return cost_nano(self._row, self.ticks)

    def enter(self, replica: Replica[LinksT], now_ns: int, weight: int) -> None:
        """The request goes out to a replica."""
        if replica.sharing is None:
            replica.sharing = Sharing(gpus=replica.row.gpus, now_ns=now_ns)
        replica.sharing.enter(self._name, now_ns, weight)
        self._replica = replica

    def cut(self, now_ns: int, least_ns: int) -> bool:
        """Count up to now and hold for the next piece. When the slice has no more, what is held
        will do while it lasts for ``least_ns`` more; false when it does not."""
        replica = self._replica
        if replica is None or replica.sharing is None:
            return True
        self.ticks += replica.sharing.cut(self._name, now_ns)
        spent = self.cost - self._paid
        if raise_to(self.hold, spent + piece_nano(self._row, replica.row.gpus)):
            return True
        return self.hold.amount >= spent + self.need(least_ns)

    def need(self, lasts_ns: int) -> int:
        """What the request may cost in so much time."""
        replica = self._replica
        return piece_nano(self._row, replica.row.gpus, lasts_ns) if replica is not None else 0

    def move(self, hold: Hold, now_ns: int) -> None:
        """Go on against another slice."""
        settle(self.hold, self.cost - self._paid, now_ns)
        self._paid = self.cost
        self.hold = hold

    def leave(self, now_ns: int) -> None:
        """The worker's part is over; another replica's may follow."""
        if self._replica is not None and self._replica.sharing is not None:
            self.ticks += self._replica.sharing.leave(self._name, now_ns)
        self._replica = None

    def close(self, now_ns: int, tokens: tuple[int, int, bool] | None) -> None:
        """Settle the hold by what the request used."""
        self.leave(now_ns)
        cost = cost_nano(self._row, self.ticks, tokens)
        settle(self.hold, max(cost - self._paid, 0), now_ns)
