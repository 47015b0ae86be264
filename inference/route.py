"""Which replica answers: ready, not resting after failures, with the least to do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from inference.meter import Target
from kernel.clock import NS
from kernel.gpu_time import Sharing
from kernel.wire.gateway import ReplicaRow, ReplicaState

FAILURES_TO_REST = 2
RESTS_NS = (5 * NS, 25 * NS, 60 * NS)

READY = ReplicaState.READY  # a look into an enum class costs more than all else here

LinksT = TypeVar("LinksT")


@dataclass(slots=True)
class Breaker:
    """Keeps a failing replica out of the way; lets one request at a time try it again."""

    failures: int = 0
    rests: int = 0
    until_ns: int = 0
    probing: bool = False

    def allows(self, now_ns: int) -> bool:
        return self.failures < FAILURES_TO_REST or (now_ns >= self.until_ns and not self.probing)

    def starts(self) -> None:
        """A request goes out; after a rest it is the only one until it has an answer."""
        if self.failures >= FAILURES_TO_REST:
            self.probing = True

    def succeeded(self) -> None:
        self.failures = self.rests = 0
        self.probing = False

    def failed(self, now_ns: int) -> None:
        """Two failures in a row rest the replica; each failed try after it, for longer."""
        self.failures += 1
        self.probing = False
        if self.failures >= FAILURES_TO_REST and now_ns >= self.until_ns:
            self.until_ns = now_ns + RESTS_NS[min(self.rests, len(RESTS_NS) - 1)]
            self.rests += 1

    def settle(self, healthy: bool | None, now_ns: int) -> None:
        """A request ended; ``None``: that said nothing about the replica's health."""
        if healthy:
            self.succeeded()
        elif healthy is None:
            self.probing = False
        else:
            self.failed(now_ns)


@dataclass(slots=True, eq=False)
class Replica(Generic[LinksT]):
    """One worker as the gateway knows it. ``links`` are its connections, of no concern here."""

    row: ReplicaRow
    links: LinksT
    breaker: Breaker = field(default_factory=Breaker)
    in_flight: int = 0
    targets: dict[tuple[str, str, str], Target] = field(default_factory=dict)
    sharing: Sharing | None = None  # this gateway's own view of the pool's busy time
    gone: bool = False  # no longer in the snapshot

    @property
    def ready(self) -> bool:
        return self.row.state is ReplicaState.READY and not self.gone


def choose(
    replicas: Iterable[Replica[LinksT]],
    now_ns: int,
    tried: Collection[str] = (),
) -> Replica[LinksT] | None:
    """The ready replica with the fewest requests for its size, or ``None``.

    ``tried`` names replicas that this request has tried already.
    """
    best: Replica[LinksT] | None = None
    for replica in replicas:
        if replica.row.state is not READY or replica.gone:
            continue
        if not replica.breaker.allows(now_ns) or replica.row.replica_id in tried:
            continue
        if best is None or _load(replica) < _load(best):
            best = replica
    return best


def _load(replica: Replica[LinksT]) -> float:
    return replica.in_flight / replica.row.gpus
