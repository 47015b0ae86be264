"""Stripe's own books about our balance: its balance transactions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from brain.adapters.payments.stripe.api import Api
from brain.payments import Away, Line, Statement

PAGE = 100
PAGES_MAX = 200


class StripeStatement(Statement):
    def __init__(self, api: Api) -> None:
        self._api = api

    async def lines(self, since: datetime, until: datetime) -> list[Line]:
        """The newest come first, page by page."""
        found: list[Line] = []
        wanted: dict[str, Any] = {
            "limit": PAGE,
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp()) + 1},
            "expand": ["data.source"],
        }
        for _ in range(PAGES_MAX):
            asked: Any = wanted
            page = await self._api.ask(self._api.client.v1.balance_transactions.list_async(asked))
            found += [_line(one) for one in page.data]
            if not page.has_more or not page.data:
                return found[::-1]
            wanted["starting_after"] = page.data[-1].id
        raise Away("Stripe's books of this time are too long for one look.")


def _line(row: Any) -> Line:
    source = row.source
    payment = None
    if source is not None and not isinstance(source, str):
        payment = getattr(source, "payment_intent", None)
    return Line(
        reference=row.id,
        kind=row.type,
        amount_minor=row.amount,
        fee_minor=row.fee,
        currency=row.currency.upper(),
        payment=payment if payment is None or isinstance(payment, str) else str(payment.id),
        at=datetime.fromtimestamp(row.created, UTC),
    )
