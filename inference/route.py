"""Which replica answers: one that may know the prompt's beginning, else the least busy. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Generic, TypeVar
from zlib import crc32

from inference.meter import Target
from kernel.clock import NS
from kernel.gpu_time import Sharing
from kernel.wire.gateway import ReplicaRow, ReplicaState

FAILURES_TO_REST = 2
RESTS_NS = (5 * NS, 25 * NS, 60 * NS)

# A replica takes at most this many times its share of what runs: consistent hashing with bounded
# loads (Mirrokni, Thorup, Zadimoghaddam 2016).
BOUND = 1.25
PACE_TOKENS_MIN = 8  # fewer tell nothing of a replica's pace
PACE_WEIGHT = 0.1  # of the newest in the moving average
SHARE_MOST = 4.0  # times a replica that is as fast as the others
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: Fibonacci hashing
_WORD = (1 << 64) - 1

UNBOUNDED = 1 << 30
AT_ONCE = 2  # times what a worker is made for: it is busy, and others find their place in line
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

    def rested(self) -> None:
        """What kept it away may be over: the next request is the try, without more rest."""
        self.until_ns = 0

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
    pace_ns: float = 0.0  # for each token of an answer, moving average; 0: not known yet
    share: float = 0.0  # of its deployment's requests, beside those of the others
    place: int = 0  # among the hashes of prefixes, the same for every gateway
    bound: int = UNBOUNDED  # requests of this gateway that it takes at once
    most: int = UNBOUNDED  # the same for who comes now: 0 while others stand in line
    full_until_ns: int = 0  # it refused a request for want of room

    def __post_init__(self) -> None:
        self.share = float(self.row.gpus)
        self.place = crc32(self.row.replica_id.encode())

    def made_for(self, concurrency: int) -> None:
        """So many requests at once; 0: nobody said."""
        self.bound = self.most = concurrency * AT_ONCE or UNBOUNDED

    def paced(self, lasted_ns: int, tokens: int) -> None:
        """An answer of so many tokens took so long."""
        if tokens >= PACE_TOKENS_MIN:
            pace_ns = lasted_ns / tokens
            known = self.pace_ns or pace_ns
            self.pace_ns = known + PACE_WEIGHT * (pace_ns - known)

    @property
    def ready(self) -> bool:
        return self.row.state is ReplicaState.READY and not self.gone


def choose(
    replicas: Sequence[Replica[LinksT]],
    now_ns: int,
    tried: Collection[str] = (),
    prefix: int = 0,
) -> Replica[LinksT] | None:
    """The replica for a request, or ``None`` when none is able.

    ``tried`` names replicas that this request has tried already. ``prefix`` is a hash of the
    prompt's beginning (0: none): the same goes to the same replica, whose cache may hold it, while
    that has no more than ``BOUND`` times its share; then to the next one in an order of its own.
    """
    if len(replicas) == 1 and not tried:  # most deployments: in few steps
        lone = replicas[0]
        if lone.row.state is READY and lone.in_flight < lone.most and not lone.breaker.failures:
            return lone
    able = [
        replica
        for replica in replicas
        if replica.row.state is READY
        and replica.in_flight < replica.most
        and replica.breaker.allows(now_ns)
        and replica.row.replica_id not in tried
    ]
    if len(able) < 2:
        return able[0] if able else None
    return _known(able, prefix) if prefix else min(able, key=_load)


def weigh(replicas: Collection[Replica[LinksT]]) -> None:
    """Give each replica its share: its GPUs, and more the faster it was measured to be."""
    known = [replica.pace_ns for replica in replicas if replica.pace_ns]
    for replica in replicas:
        speed = sum(known) / len(known) / replica.pace_ns if replica.pace_ns else 1.0
        replica.share = replica.row.gpus * min(max(speed, 1 / SHARE_MOST), SHARE_MOST)


def prefix_of(beginning: bytes | memoryview, account_id: str) -> int:
    """A hash of a prompt's first bytes; accounts share no caches. 0 only where there are none."""
    return (crc32(beginning, crc32(account_id.encode())) or 1) if len(beginning) else 0


def _known(able: list[Replica[LinksT]], prefix: int) -> Replica[LinksT]:
    """The first in the prefix's order (highest random weight) that is not over its bound."""
    running = sum(replica.in_flight for replica in able) + 1
    shares = sum(replica.share for replica in able)
    return max(
        (one for one in able if one.in_flight < ceil(BOUND * running * one.share / shares)),
        key=lambda one: ((prefix ^ one.place) * _MIX) & _WORD,
    )


def _load(replica: Replica[LinksT]) -> float:
    return replica.in_flight / replica.share
