"""How many replicas a load needs: pure.

As Kubernetes' HorizontalPodAutoscaler has it: ``ceil(load / target)``, or what there is while the
ratio of load to capacity is within 10 % of 1; up at once, down to the most that was recommended
within a stabilisation window. Beside it: to zero after an idle time, and from zero on a request
that waits. Long prompts fill a worker's KV cache while it has few requests: what workers say of
their caches is a second load, and the one that needs more replicas counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from kernel.clock import NS

TOLERANCE = 0.1
CACHE_TARGET = 0.8  # of a worker's KV cache; beyond it requests begin to wait for room
FRESH_NS = 5 * NS  # a gateway tells each second
FORGOTTEN_NS = 120 * NS  # a gateway that is silent for so long is gone, as for drains


@dataclass(frozen=True)
class Terms:
    """What the owner set."""

    least: int
    most: int
    target: int  # requests in flight on each replica
    down_seconds: int
    zero_seconds: int


@dataclass(frozen=True)
class Told:
    """What one gateway told last."""

    in_flight: float
    waiting: int
    tokens_per_second: float
    seen_ns: int
    caches: float = 0.0  # that are in use, or would be; all gateways see the same workers
    queued: int = 0  # in the workers' own queues


@dataclass(frozen=True)
class Memory:
    """``recommended``: (time, replicas) of the window, each more than those after it."""

    recommended: tuple[tuple[int, int], ...] = ()
    busy_ns: int = 0  # when something was last in flight or waited


@dataclass(frozen=True)
class Verdict:
    replicas: int
    reason: str  # with its numbers
    memory: Memory


def decide(
    terms: Terms,
    told: Sequence[Told],
    memory: Memory,
    *,
    replicas: int,
    since_ns: int,
    now_ns: int,
) -> Verdict:
    """``since_ns``: a deployment cannot have been idle before it (when a worker got ready, or a
    request last ran)."""
    fresh = [one for one in told if one.seen_ns > now_ns - FRESH_NS]
    silent = any(_silent(one, now_ns) for one in told)
    in_flight = sum(one.in_flight for one in fresh)
    waiting = sum(one.waiting for one in fresh)
    load = in_flight + waiting
    busy_ns = now_ns if load or silent else max(memory.busy_ns, since_ns)
    caches = max((one.caches for one in fresh), default=0.0)
    by_cache = recommend(caches, replicas, CACHE_TARGET)
    needed = max(recommend(load, replicas, terms.target), by_cache)
    wanted = min(max(needed, terms.least, 1), terms.most)
    if silent:  # what it has in flight is not known: no time to take anything away
        wanted = max(wanted, min(replicas, terms.most))
    speed = sum(one.tokens_per_second for one in fresh)
    says = f"{in_flight:.1f} in flight + {waiting} waiting over {terms.target} each"
    says += f", {speed:.0f} tokens/s" if speed else ""
    says += _of_caches(fresh, caches) if by_cache else ""
    oldest_ns = now_ns - terms.down_seconds * NS
    kept = [(at, count) for at, count in memory.recommended if at > oldest_ns and count > wanted]
    now_kept = Memory((*kept, (now_ns, wanted)), busy_ns)
    if replicas == 0:
        return _from_zero(terms, wanted, waiting, says, now_kept)
    if wanted > replicas:
        return Verdict(wanted, f"{says}: {replicas} to {wanted} (most {terms.most})", now_kept)
    idle = (now_ns - busy_ns) // NS
    if terms.least == 0 and idle >= terms.zero_seconds and not load and not silent:
        return Verdict(0, f"idle for {idle} s, of {terms.zero_seconds}: {replicas} to 0", now_kept)
    steady = max(count for _, count in now_kept.recommended)
    if steady < replicas:
        window = f"no more than {steady} needed within {terms.down_seconds} s"
        return Verdict(steady, f"{says}, {window}: {replicas} to {steady}", now_kept)
    return Verdict(replicas, f"{says}: {replicas} stay", now_kept)


def recommend(load: float, replicas: int, target: float) -> int:
    """Replicas for so many requests; what there is while that is near enough."""
    if replicas and abs(load / (replicas * target) - 1) <= TOLERANCE:
        return replicas
    return ceil(load / target)


def _of_caches(fresh: Sequence[Told], caches: float) -> str:
    queued = max(one.queued for one in fresh)
    behind = f" ({queued} queued there)" if queued else ""
    return f", KV caches of {caches:.2f} workers{behind} over {CACHE_TARGET:g} each"


def _silent(one: Told, now_ns: int) -> bool:
    """Not heard of late, though it had something: it may have more by now."""
    age_ns = now_ns - one.seen_ns
    return FRESH_NS <= age_ns < FORGOTTEN_NS and (one.in_flight > 0 or one.waiting > 0)


def _from_zero(terms: Terms, wanted: int, waiting: int, says: str, memory: Memory) -> Verdict:
    if terms.least or waiting:
        return Verdict(wanted, f"{says}: 0 to {wanted}", memory)
    # Nothing runs, so nothing is recommended: a window of the time before would hold it up.
    return Verdict(0, "it sleeps; a request wakes it", Memory((), memory.busy_ns))
