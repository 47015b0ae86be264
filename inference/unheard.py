"""A request that its client left before its worker said a byte: what counts of it.

The worker's node says whether the worker had taken it (``kernel.wire.links``). Where nobody can
say, a moment counts nothing: a worker that had just died looks the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from inference.answer import UNKNOWN
from inference.link_reverse import ReverseLinks
from kernel.wire.gateway import SegmentEnd

if TYPE_CHECKING:
    from inference.gateway import Gateway
    from inference.links import Link, Links
    from inference.meter import Residence
    from inference.route import Replica


def left(
    gateway: Gateway,
    replica: Replica[Links] | None,
    link: Link | None,
    residence: Residence,
    now_ns: int,
    status: int,
) -> None:
    """Count it, now or when its agent has spoken. ``link`` is about to be dropped."""
    settle = partial(_settle, gateway, residence, now_ns, status)
    gateway.unheard.add(residence)
    links = replica.links if replica is not None else None
    asks = link is not None and isinstance(links, ReverseLinks) and links.ask_fate(link, settle)
    if not asks:
        settle(None)


def _settle(
    gateway: Gateway, residence: Residence, left_ns: int, status: int, begun: bool | None
) -> None:
    gateway.unheard.discard(residence)
    until_ns = residence.unheard_until(left_ns, begun=begun)
    residence.finish(until_ns, SegmentEnd.ABORTED, status, UNKNOWN)
    gateway.spool.finished(residence)
