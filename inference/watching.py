"""The slow beat over a running request: deadlines, and the cuts of its meter. Off the hot path."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from inference import verdict
from kernel.errors import GanglionError
from kernel.wire.gateway import SegmentEnd

if TYPE_CHECKING:
    from inference.exchange import Exchange
    from inference.meter import Residence


def watch(exchange: Exchange, now_ns: int, *, cut: bool) -> None:
    """Called a few times a second; ``cut`` when a window of the meter has ended."""
    residence = exchange.residence
    if residence is None:
        return  # dialling, and waiting for money, have limits of their own
    if cut:
        _cut(exchange, residence, now_ns)
    if exchange._over:
        return
    gateway = exchange._gateway
    if exchange._paused_ns:
        if now_ns - exchange._paused_ns > gateway.idle_ns:
            exchange._client.cut()
            exchange.client_gone()
        return
    relay = exchange._relay
    if exchange._flowing and (exchange._heard or (relay is not None and relay.went_on())):
        exchange._heard = False
        exchange._deadline_ns = now_ns + gateway.idle_ns
    if now_ns > exchange._deadline_ns or now_ns - exchange._started_ns > gateway.total_ns:
        exchange._own_answer().lost(verdict.TOO_SLOW)
        exchange._judge(b"")


def _cut(exchange: Exchange, residence: Residence, now_ns: int) -> None:
    gateway = exchange._gateway
    residence.cut(now_ns, exchange._answer.tokens()[1])
    gateway.spool.finished(residence)
    residence.go_on(gateway.day)
    if exchange._payment is not None:
        exchange._payment.cut(now_ns, partial(_paid_on, exchange))


def _paid_on(exchange: Exchange, error: GanglionError | None) -> None:
    """The next piece of a running request is paid for from another slice, or it stops."""
    if exchange._over:
        return
    if error is not None:
        exchange._abort(SegmentEnd.ABORTED, error.status)
        exchange._fail(error)
    elif exchange.residence is not None and exchange._payment is not None:
        exchange.residence.pay_from(exchange._payment.slice_id)
