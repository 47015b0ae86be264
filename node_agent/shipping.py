"""Brings the lines of all leases to the brain, a batch at a time, and clears the shelf."""

from __future__ import annotations

from collections.abc import Container

import structlog

from kernel.errors import Forbidden, Unauthenticated
from node_agent.link import Brain, BrainAway, BrainRefused
from node_agent.logs import LogShelf

log = structlog.get_logger(__name__)
BATCHES_A_ROUND_MAX = 8
ENDED_KEPT_MAX = 50


async def ship_logs(
    brain: Brain, shelf: LogShelf, *, known: Container[str], running: Container[str]
) -> None:
    """One round over all leases. Lines stay on the shelf while the brain is away.

    The files of a lease that the agent has forgotten (not in ``known``) go when all of its
    lines are shipped; were the brain away for long, the oldest go first.
    """
    over: list[str] = []
    for lease_id in shelf.leases():
        flush = lease_id not in running
        try:
            empty = await _ship_one(brain, shelf, lease_id, flush=flush)
        except (BrainAway, Unauthenticated, Forbidden):
            empty = False
        if lease_id in known or not flush:
            continue
        if empty:
            shelf.remove(lease_id)
        else:
            over.append(lease_id)
    for lease_id in over[:-ENDED_KEPT_MAX]:
        log.warning("logs_dropped", lease_id=lease_id, reason="the brain was away for too long")
        shelf.remove(lease_id)


async def _ship_one(brain: Brain, shelf: LogShelf, lease_id: str, *, flush: bool) -> bool:
    for _ in range(BATCHES_A_ROUND_MAX):
        found = shelf.next_batch(lease_id, flush=flush)
        if found is None:
            return True
        batch, after = found
        try:
            await brain.ship(batch)
        except BrainRefused as refusal:
            log.warning("logs_refused", lease_id=lease_id, reason=refusal.detail)
        shelf.taken(lease_id, after)
    return False
