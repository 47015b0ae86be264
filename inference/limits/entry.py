"""A request at its limits: let through at once, after a moment, or refused."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from inference.limits.gate import Admitted, Refused

if TYPE_CHECKING:
    from inference.body import Ask
    from inference.exchange import Exchange
    from inference.snapshot import Account


def admit(exchange: Exchange, account: Account, ask: Ask) -> None:
    """Place the request where its key's and its account's limits let it; else refuse it."""
    limits = exchange._gateway.limits
    gate = limits.gate(exchange._key, account.row)
    if gate.each is None:
        terms = "" if gate.open else gate.quick()
        if terms is not None:
            _tell(exchange, terms)
            exchange._place(account, ask)
            return
    need = gate.need(ask, len(exchange._body), exchange._weight) if gate.tokens else 0
    found = gate.enter(need)
    if found is None:
        limits.wait(gate, need, partial(_entered, exchange, account, ask))
        return
    _tell(exchange, gate.terms())
    exchange._admitted = found
    exchange._place(account, ask)


def _entered(exchange: Exchange, account: Account, ask: Ask, found: Admitted | Refused) -> None:
    if exchange._over:  # the client left while it waited
        found.leave(0)
        return
    _tell(exchange, found.gate.terms())
    if isinstance(found, Refused):
        exchange._fail(found.error)
        return
    exchange._admitted = found
    exchange._place(account, ask)


def _tell(exchange: Exchange, terms: str) -> None:
    """What the answer's head says behind the request's id."""
    id_line = exchange._route.dialect.id_line
    exchange.terms = f"{id_line}{exchange.request_id}{terms}" if id_line else terms
