"""Pure decisions of the fleet: who is silent, what has run out, what a report changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from brain.fleet.states import LeaseState
from kernel.clock import NS
from kernel.wire.agent import LeaseSeen, LeaseSeenState

GAP_NS = 5 * NS  # a brain that wrote nothing for longer was not receiving
GRACE_NS = 10 * NS  # on top of the ttl before GPUs are free without evidence
SILENT_NS = 21_500_000_000  # two beats missed and a moment; seen by the next tick, within 25 s
GUARD_WINDOW_NS = 60 * NS
GUARD_SHARE_PERCENT = 20
GUARD_COUNT = 3
MISSING_NS = 30 * NS  # a lease that the agent should report and does not
STOPPING_BILLED_NS = 30 * NS  # a stop that takes longer is not the renter's to pay
ALIVE = frozenset(
    {
        LeaseSeenState.STARTING,
        LeaseSeenState.LOADING,
        LeaseSeenState.READY,
        LeaseSeenState.STOPPING,
    }
)


def plain(text: str) -> str:
    """An agent's text as PostgreSQL takes it: no NUL, nothing that is not Unicode."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


class Outcome(StrEnum):
    """How a lease ended."""

    RELEASED = "released"  # gone: asked to stop, or its node stopped or was restarted
    FAILED = "failed"  # the worker failed, and is gone
    LOST = "lost"  # no evidence: its time ran out, or the host booted anew


def other_gpus(memory_mib: Sequence[int], count: int, least_mib: int) -> str:
    """Why these are not the GPUs that a machine was rented for; empty when they are."""
    if len(memory_mib) < count:
        return f"the machine has {len(memory_mib)} GPUs; {count} were rented"
    small = min(memory_mib[:count])
    if small < least_mib:
        return f"a GPU of the machine has {small} MiB; {least_mib} MiB are needed"
    return ""


@dataclass(frozen=True)
class Receiving:
    """One brain process was receiving without a gap from ``since_ns`` to ``until_ns``."""

    since_ns: int
    until_ns: int


def receiving_since(spans: Iterable[Receiving], now_ns: int) -> int | None:
    """Since when some brain has been receiving without a gap; None when none is now."""
    since = now_ns
    for span in sorted(spans, key=lambda s: (-s.until_ns, s.since_ns)):
        if span.until_ns < since - GAP_NS:
            break
        since = min(since, span.since_ns)
    return None if since == now_ns else since


@dataclass(frozen=True)
class Hearing:
    """``until_ns``: what any brain heard until then is written down; ``since_ns``: from when on
    no brain stopped that may have heard something and not written it. None when none receives."""

    since_ns: int | None
    until_ns: int


def hearing(spans: Sequence[Receiving], now_ns: int) -> Hearing:
    """What silence is judged by: each node speaks to one brain, and that one may be slow."""
    since_ns = receiving_since(spans, now_ns)
    fresh = [span.until_ns for span in spans if span.until_ns >= now_ns - GAP_NS]
    if since_ns is None or not fresh:
        return Hearing(None, now_ns)
    stopped = [span.until_ns for span in spans if span.until_ns < now_ns - GAP_NS]
    return Hearing(max([since_ns, *stopped]), min(now_ns, *fresh))


@dataclass(frozen=True)
class LeaseFacts:
    """What decisions need of a lease."""

    lease_id: str
    epoch: int
    generation: int
    state: LeaseState
    ttl_seconds: int
    opened_ns: int
    renewed_ns: int
    stop_asked_ns: int | None = None
    drain_seconds: int = 0  # the longest that its work may take to end
    seen_state: str | None = None
    seen_reason: str = ""
    seen_port: int = 0
    seen_restarts: int = 0
    seen_kv_tokens: int = 0


def run_out(lease: LeaseFacts, since_ns: int | None, now_ns: int) -> bool:
    """Its ttl and the grace passed with no renewal, all the time with a brain receiving.

    By then the agent has stopped the work by itself, so the GPUs are free without evidence.
    """
    if since_ns is None:
        return False
    last = max(lease.renewed_ns, lease.opened_ns, since_ns)
    return now_ns >= last + lease.ttl_seconds * NS + GRACE_NS


@dataclass(frozen=True)
class NodeLiveness:
    node_id: str
    last_seen_ns: int
    silent_since_ns: int | None  # as marked before


@dataclass(frozen=True)
class Silence:
    """``fallen`` are to be marked silent, ``risen`` are heard again; ``frozen`` says why the
    guard holds back what would have fallen."""

    fallen: tuple[str, ...] = ()
    risen: tuple[str, ...] = ()
    frozen: str = ""


def silence(
    nodes: Collection[NodeLiveness], since_ns: int | None, now_ns: int, *, others: int = 0
) -> Silence:
    """Which nodes fell silent or are back. Silence counts only while a brain was receiving.

    ``others`` are known to be heard, and marked as nothing else. When too many fall within one
    window it is more likely us than them: nobody is evicted.
    """
    quiet = {n.node_id for n in nodes if is_silent(n, since_ns, now_ns)}
    risen = tuple(
        sorted(
            n.node_id
            for n in nodes
            if n.silent_since_ns is not None and n.last_seen_ns > n.silent_since_ns
            if n.node_id not in quiet
        )
    )
    before = {n.node_id for n in nodes if _marked_before(n, now_ns)}
    window = [n for n in nodes if n.node_id not in before]
    falling = [n for n in window if n.node_id in quiet]
    fresh = tuple(sorted(n.node_id for n in falling if n.silent_since_ns is None))
    if not fresh:
        return Silence(risen=risen)
    all_in_window = len(window) + others
    many = len(falling) > GUARD_COUNT
    share = len(falling) * 100 > all_in_window * GUARD_SHARE_PERCENT
    if (many and share) or len(falling) == all_in_window:
        said = f"{len(falling)} of {all_in_window} nodes fell silent together; nobody is evicted"
        return Silence(risen=risen, frozen=said)
    return Silence(fallen=fresh, risen=risen)


def last_known_ns(node: NodeLiveness, since_ns: int | None, now_ns: int) -> int:
    """When it was last known to be there: by its beats, and while no brain received (``since_ns``
    None: none does now) by there having been nobody to hear it."""
    if node.silent_since_ns is not None:
        return node.last_seen_ns
    return max(node.last_seen_ns, now_ns if since_ns is None else since_ns)


def is_silent(node: NodeLiveness, since_ns: int | None, now_ns: int) -> bool:
    if since_ns is None:
        return False
    return now_ns - max(node.last_seen_ns, since_ns) >= SILENT_NS


def _marked_before(node: NodeLiveness, now_ns: int) -> bool:
    marked = node.silent_since_ns
    return marked is not None and marked <= now_ns - GUARD_WINDOW_NS


@dataclass(frozen=True)
class Report:
    """What one ``LeaseSeen`` changes. ``stop`` and ``close`` say why, or are empty."""

    lease_id: str
    loading: bool = False
    ready: bool = False
    stop: str = ""
    close: Outcome | None = None


def changes(lease: LeaseFacts, seen: LeaseSeen) -> bool:
    """Whether the report says anything new that must be kept."""
    if seen.epoch != lease.epoch:
        return False
    now = (seen.state.value, plain(seen.reason), seen.port, seen.restarts)
    if now != (lease.seen_state, lease.seen_reason, lease.seen_port, lease.seen_restarts):
        return True
    if seen.kv_cache_tokens not in (0, lease.seen_kv_tokens):
        return True
    return read(lease, seen) != Report(lease.lease_id)


def read(lease: LeaseFacts, seen: LeaseSeen) -> Report:
    """Decide on a report with this lease's epoch. Reading it twice changes nothing more."""
    began = lease.seen_state is not None
    fresh = seen.state.value != lease.seen_state
    reason = seen.reason or f"the agent reports that it {_said(seen.state)}"
    match seen.state:
        case LeaseSeenState.LOADING:
            return Report(lease.lease_id, loading=fresh)
        case LeaseSeenState.READY:
            return Report(lease.lease_id, loading=fresh, ready=fresh)
        case LeaseSeenState.FAILED if lease.state is LeaseState.OPEN:
            return Report(lease.lease_id, stop=reason)
        case LeaseSeenState.GONE if lease.state is LeaseState.STOPPING:
            failed = lease.seen_state == LeaseSeenState.FAILED.value
            return Report(lease.lease_id, close=Outcome.FAILED if failed else Outcome.RELEASED)
        case LeaseSeenState.GONE if began and lease.state is LeaseState.OPEN:
            return Report(lease.lease_id, stop=reason, close=Outcome.RELEASED)
    return Report(lease.lease_id)


def _said(state: LeaseSeenState) -> str:
    return "failed" if state is LeaseSeenState.FAILED else "is gone"


@dataclass(frozen=True)
class BeatLeases:
    """What a beat means for the node's live leases, by id."""

    changed: tuple[LeaseSeen, ...]  # to be saved
    renewed: tuple[str, ...]
    evidence: tuple[str, ...]  # alive now, and paid for
    missing: tuple[str, ...]  # should have been reported


def sort_leases(
    live: Mapping[str, LeaseFacts],
    reported: Iterable[LeaseSeen],
    *,
    generation_applied: int,
    now_ns: int,
    evident_ns: Mapping[str, int],
) -> BeatLeases:
    """Unknown leases and old epochs are ignored: they hold nothing any more.

    ``evident_ns``: when each was last seen alive; a lease that is not in it is new.
    """
    seen = {
        report.lease_id: report
        for report in reported
        if report.lease_id in live and report.epoch == live[report.lease_id].epoch
    }
    changed = tuple(report for key, report in seen.items() if changes(live[key], report))
    alive = {key for key, report in seen.items() if report.state in ALIVE}
    absent = live.keys() - seen.keys()
    awaited = {key for key in absent if live[key].generation > generation_applied}
    kept = {key for key in alive | awaited if not _stops_for_ever(live[key], now_ns)}
    return BeatLeases(
        changed=changed,
        renewed=tuple(sorted(kept)),
        evidence=tuple(
            sorted(
                key
                for key in alive
                if _paid_for(live[key], seen[key].state, evident_ns.get(key, now_ns), now_ns)
            )
        ),
        missing=tuple(sorted(absent - awaited)),
    )


def _paid_for(lease: LeaseFacts, state: LeaseSeenState, last_ns: int, now_ns: int) -> bool:
    """An end that nobody asked for, that takes too long, or that is told after a silence in which
    it may have happened, is no time of the renter's."""
    asked = lease.stop_asked_ns
    if asked is not None and now_ns > asked + STOPPING_BILLED_NS:
        return False
    return state is not LeaseSeenState.STOPPING or (
        asked is not None and now_ns - last_ns < SILENT_NS
    )


def _stops_for_ever(lease: LeaseFacts, now_ns: int) -> bool:
    """Its stop should long have been over: it is renewed no more, so that its time runs out."""
    asked = lease.stop_asked_ns
    longest = (lease.drain_seconds + lease.ttl_seconds) * NS
    return asked is not None and now_ns > asked + longest


def is_outdated(version: str, latest: str) -> bool:
    """Whether an agent runs from another file than the newest. One run from source does not
    say, and is left to whoever runs it."""
    return bool(latest) and "+" in version and version != latest
