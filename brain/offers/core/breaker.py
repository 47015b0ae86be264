"""Pure: what an attempt's outcome blocks, for how long, and who may try again first.

A block covers a scope: a cloud, and of it a region, a kind of GPU, a host or one offer, each of
which may be any. It rests, longer each time; then one attempt at a time may try (half-open), and
its outcome closes the block or makes it rest again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from kernel.clock import NS

ANY = "*"
PROBE_SECONDS_MAX = 1800  # a probe that never told its outcome is given up
FORGET_SECONDS = 6 * 3600  # strikes older than this count no more


class OutcomeKind(StrEnum):
    """What became of an attempt to rent and start a machine."""

    ACCEPTED = "accepted"  # the cloud made the machine: there was capacity
    SERVED = "served"  # its work became ready
    NO_CAPACITY = "no_capacity"
    THROTTLED = "throttled"
    REFUSED = "refused"
    BOOT_FAILED = "boot_failed"
    BOOT_SLOW = "boot_slow"
    INTERRUPTED = "interrupted"
    CREDENTIALS = "credentials"
    BROKE = "broke"
    ABANDONED = "abandoned"  # nobody wanted it any more: it says nothing of the place


@dataclass(frozen=True, slots=True)
class Outcome:
    """``boot_seconds``: from the order to the agent's first word. ``retry_after``: seconds, where
    the cloud said so. ``model``: what it served, if it did."""

    cloud: str
    region: str
    gpu_name: str
    host: str
    kind: OutcomeKind
    boot_seconds: int | None = None
    detail: str = ""
    offer_key: str = ""
    retry_after: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a block covers; ``ANY`` matches all."""

    cloud: str
    region: str = ANY
    gpu_name: str = ANY
    host: str = ANY
    offer_key: str = ANY

    def covers(self, place: Scope) -> bool:
        """``place`` names everything."""
        return (
            self.cloud == place.cloud
            and self.region in (ANY, place.region)
            and self.gpu_name in (ANY, place.gpu_name)
            and self.host in (ANY, place.host)
            and self.offer_key in (ANY, place.offer_key)
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """``strikes``: so many in a row open the block. ``probed``: when the rest is over, one
    attempt at a time goes first; else the block is simply over."""

    first_seconds: int
    most_seconds: int
    strikes: int = 1
    probed: bool = True


RESTS: Mapping[OutcomeKind, Rest] = {
    OutcomeKind.NO_CAPACITY: Rest(30, 600),
    OutcomeKind.THROTTLED: Rest(5, 300, probed=False),
    OutcomeKind.REFUSED: Rest(600, 6 * 3600),
    OutcomeKind.BOOT_FAILED: Rest(120, 3600),
    OutcomeKind.BOOT_SLOW: Rest(120, 3600),
    OutcomeKind.INTERRUPTED: Rest(120, 1800, probed=False),
    OutcomeKind.CREDENTIALS: Rest(600, 3600),
    OutcomeKind.BROKE: Rest(600, 3600),
}
# Places of one cloud that refuse in a row say something of the whole of it: it rests, but never
# long, so that an account at one cloud alone goes on looking.
WHOLE_CLOUD = Rest(30, 60, strikes=4)
STRIKES_WITHOUT_HOST = 3  # where the host is not known, one bad boot says little of the region
CLEARED_BY_ACCEPTED = frozenset(
    {
        OutcomeKind.NO_CAPACITY,
        OutcomeKind.THROTTLED,
        OutcomeKind.REFUSED,
        OutcomeKind.CREDENTIALS,
        OutcomeKind.BROKE,
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    scope: Scope
    kind: OutcomeKind
    strikes: int
    began_ns: int  # of the last strike
    until_ns: int  # the end of its rest
    reason: str
    probe_until_ns: int | None = None  # somebody tries until then

    @property
    def opened(self) -> bool:
        return self.strikes >= _strikes_needed(self.kind, self.scope)

    def rests(self, now_ns: int) -> bool:
        return self.opened and now_ns < self.until_ns

    def probing(self, now_ns: int) -> bool:
        return self.opened and self.probe_until_ns is not None and now_ns < self.probe_until_ns

    def half_open(self, now_ns: int) -> bool:
        return self.opened and RESTS[self.kind].probed and now_ns >= self.until_ns

    def forgotten(self, now_ns: int) -> bool:
        last = max(self.until_ns, self.probe_until_ns or 0)
        return now_ns - last > FORGET_SECONDS * NS


def place_of(outcome: Outcome) -> Scope:
    """Where it happened, everything named."""
    return Scope(outcome.cloud, outcome.region, outcome.gpu_name, outcome.host, outcome.offer_key)


def scopes_of(outcome: Outcome) -> tuple[Scope, ...]:
    """What such an outcome blocks, the nearest first; empty for one that blocks nothing."""
    near = _scope_of(outcome)
    if near is None:
        return ()
    return (near, Scope(near.cloud)) if outcome.kind is OutcomeKind.NO_CAPACITY else (near,)


def _scope_of(outcome: Outcome) -> Scope | None:
    kind, cloud = outcome.kind, outcome.cloud
    if kind in (OutcomeKind.THROTTLED, OutcomeKind.CREDENTIALS, OutcomeKind.BROKE):
        return Scope(cloud)
    if kind is OutcomeKind.INTERRUPTED:
        return Scope(cloud, outcome.region)
    if kind is OutcomeKind.REFUSED:
        return Scope(cloud, offer_key=outcome.offer_key)
    host = outcome.host or ANY
    if kind is OutcomeKind.NO_CAPACITY:
        return Scope(cloud, outcome.region, outcome.gpu_name, host)
    if kind in (OutcomeKind.BOOT_FAILED, OutcomeKind.BOOT_SLOW):
        if outcome.host:
            return Scope(cloud, host=host)
        return Scope(cloud, outcome.region, outcome.gpu_name)
    return None


def struck(block: Block | None, scope: Scope, outcome: Outcome, now_ns: int) -> Block:
    """The block after one more such outcome. ``block`` is the one of this scope and kind."""
    strikes = 1
    if block is not None and not block.forgotten(now_ns):
        strikes = block.strikes + 1
    return Block(
        scope=scope,
        kind=outcome.kind,
        strikes=strikes,
        began_ns=now_ns,
        until_ns=now_ns + _rest_ns(outcome, scope, strikes),
        reason=_sentence(outcome),
    )


def after(block: Block, outcome: Outcome, now_ns: int) -> Block | None:
    """A block that covers the outcome's place, but is not of its scope and kind, after it: None
    when it is over."""
    kind = outcome.kind
    if kind is OutcomeKind.SERVED:
        return None
    if kind is OutcomeKind.ACCEPTED:
        return None if block.kind in CLEARED_BY_ACCEPTED else block
    if block.probe_until_ns is None:
        return block
    if kind is OutcomeKind.ABANDONED:
        return replace(block, probe_until_ns=None)
    # The probe failed in another way: nothing was learned of this block's own reason.
    rest_ns = _rest_of(block.kind, block.scope).first_seconds * NS
    return replace(block, probe_until_ns=None, until_ns=max(block.until_ns, now_ns + rest_ns))


def appeared(block: Block, place: Scope, seen_ns: int) -> Block | None:
    """Capacity came up at ``place`` in a listing asked for at ``seen_ns``: a block for want of it
    that is older may be tried at once. None when nothing changes."""
    if block.kind is not OutcomeKind.NO_CAPACITY or not block.scope.covers(place):
        return None
    if block.began_ns >= seen_ns or block.until_ns <= seen_ns:
        return None
    return replace(block, until_ns=seen_ns)


def barred(blocks: Iterable[Block], now_ns: int) -> Block | None:
    """Of blocks that cover a place the one that keeps it shut the longest, if any does."""
    shut = [b for b in blocks if b.rests(now_ns) or b.probing(now_ns)]
    return max(shut, key=lambda b: (opens_ns(b), b.scope), default=None)


def opens_ns(block: Block) -> int:
    """When it may be tried next, as far as is known."""
    return max(block.until_ns, block.probe_until_ns or 0)


def to_probe(blocks: Iterable[Block], now_ns: int) -> list[Block]:
    """Half-open blocks as they are while one attempt tries; the place must not be barred."""
    until_ns = now_ns + PROBE_SECONDS_MAX * NS
    return [replace(b, probe_until_ns=until_ns) for b in blocks if b.half_open(now_ns)]


def _rest_of(kind: OutcomeKind, scope: Scope) -> Rest:
    whole = kind is OutcomeKind.NO_CAPACITY and scope == Scope(scope.cloud)
    return WHOLE_CLOUD if whole else RESTS[kind]


def _strikes_needed(kind: OutcomeKind, scope: Scope) -> int:
    boots = (OutcomeKind.BOOT_FAILED, OutcomeKind.BOOT_SLOW)
    if kind in boots and scope.host == ANY:
        return STRIKES_WITHOUT_HOST
    return _rest_of(kind, scope).strikes


def _rest_ns(outcome: Outcome, scope: Scope, strikes: int) -> int:
    rest = _rest_of(outcome.kind, scope)
    if outcome.retry_after is not None and outcome.retry_after > 0:
        asked_ns = int(min(outcome.retry_after, float(rest.most_seconds)) * NS)
        return max(asked_ns, NS)
    beyond = max(0, strikes - _strikes_needed(outcome.kind, scope))
    return min(rest.most_seconds, rest.first_seconds << min(beyond, 20)) * NS


_SAID: Mapping[OutcomeKind, str] = {
    OutcomeKind.NO_CAPACITY: "There was no capacity",
    OutcomeKind.THROTTLED: "The cloud asked us to slow down",
    OutcomeKind.REFUSED: "The cloud refused this offer",
    OutcomeKind.BOOT_FAILED: "A machine did not start there",
    OutcomeKind.BOOT_SLOW: "A machine was too slow to start there",
    OutcomeKind.INTERRUPTED: "A machine was taken away in this region",
    OutcomeKind.CREDENTIALS: "This cloud cannot be used now; its account needs an administrator",
    OutcomeKind.BROKE: "This cloud cannot be used now; its account needs an administrator",
}
# What the cloud said of our account is for administrators; every renter reads a block's reason.
_PRIVATE = frozenset({OutcomeKind.CREDENTIALS, OutcomeKind.BROKE})


def _sentence(outcome: Outcome) -> str:
    told = "" if outcome.kind in _PRIVATE else outcome.detail
    detail = " ".join(told.split())[:200].rstrip(".")
    return f"{_SAID[outcome.kind]}: {detail}." if detail else f"{_SAID[outcome.kind]}."
