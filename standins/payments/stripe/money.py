"""Balances: every movement is a balance transaction, pending until it is available."""

from __future__ import annotations

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.refusals import invalid

CATEGORIES = {
    "charge": "charge",
    "refund": "refund",
    "refund_failure": "refund_failure",
    "adjustment": "dispute",
    "transfer": "transfer",
    "transfer_refund": "transfer_reversal",
    "payment": "charge",
    "payment_refund": "refund",
    "payout": "payout",
    "payout_failure": "payout_reversal",
    "topup": "topup",
}
# The least that a card can be charged, where it is not 50 of the smallest unit.
LEAST = {"gbp": 30, "jpy": 50, "ugx": 50_00, "rwf": 500, "xaf": 300, "xof": 300, "kes": 50_00}
ZERO_DECIMAL = {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd"}
ZERO_DECIMAL |= {"vuv", "xaf", "xof", "xpf"}
MOST = 99_999_999


def move(
    desk: Desk,
    kind: str,
    amount: int,
    currency: str,
    source: str,
    *,
    fee: int = 0,
    ripe_seconds: int = 0,
    description: str | None = None,
) -> Thing:
    """Write a movement of ``amount`` (may be negative), less ``fee``, into the balance."""
    details = []
    if fee:
        words = "Stripe processing fees" if kind == "charge" else "Dispute fee"
        details = [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": words,
                "type": "stripe_fee",
            }
        ]
    row = desk.make(
        "balance_transaction",
        "txn",
        amount=amount,
        available_on=desk.now + ripe_seconds,
        balance_type="payments",
        currency=currency,
        description=description,
        exchange_rate=None,
        fee=fee,
        fee_details=details,
        net=amount - fee,
        reporting_category=CATEGORIES[kind],
        source=source,
        status="pending" if ripe_seconds else "available",
        type=kind,
    )
    if ripe_seconds:
        desk.book.later(ripe_seconds, lambda: _ripen(desk, row))
    return row


def _ripen(desk: Desk, row: Thing) -> None:
    row["status"] = "available"
    desk.emit("balance.available", balance_of(desk))


def available(desk: Desk, currency: str) -> int:
    return _sums(desk, "available").get(currency, 0)


def balance_of(desk: Desk) -> Thing:
    ripe, pending = _sums(desk, "available"), _sums(desk, "pending")
    currencies = sorted({*ripe, *pending}) or ["usd"]

    def shown(sums: dict[str, int]) -> list[Thing]:
        return [
            {
                "amount": sums.get(one, 0),
                "currency": one,
                "source_types": {"card": sums.get(one, 0)},
            }
            for one in currencies
        ]

    return {
        "object": "balance",
        "available": shown(ripe),
        "livemode": False,
        "pending": shown(pending),
    }


def _sums(desk: Desk, status: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in desk.table("balance_transaction").values():
        if row["status"] == status:
            sums[row["currency"]] = sums.get(row["currency"], 0) + row["net"]
    return sums


def check_least(amount: int, currency: str) -> None:
    least = LEAST.get(currency, 50)
    if amount < least:
        words = f"Amount must be at least {_told(least, currency)}"
        raise invalid(words, "amount", "amount_too_small")
    if amount > MOST:
        words = f"Amount must be no more than {_told(MOST, currency)}"
        raise invalid(words, "amount", "amount_too_large")
    if currency == "ugx" and amount % 100:
        raise invalid("Invalid amount for ugx: it is given with two decimals, 00.", "amount")


def _told(amount: int, currency: str) -> str:
    if currency in ZERO_DECIMAL:
        return f"{amount} {currency}"
    sign = "$" if currency == "usd" else ""
    return f"{sign}{amount // 100}.{amount % 100:02} {currency}"


def currency_of(call: Call) -> str:
    currency = call.params.must("currency")
    if len(currency) != 3 or not currency.isalpha():
        words = f"Invalid currency: {currency}."
        raise invalid(words, "currency")
    return currency.lower()


def balance(call: Call) -> Thing:
    call.params.done()
    return balance_of(call.desk)


def list_all(call: Call) -> Thing:
    params = call.params
    wanted = {name: params.text(name) for name in ("source", "type", "currency", "payout")}
    payout = wanted.pop("payout")
    rows = [
        row
        for row in call.desk.table("balance_transaction").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
        and (payout is None or row["source"] == payout)
    ]
    return call.page("balance_transaction", rows)


ROUTES: Routes = {
    ("GET", "/v1/balance"): balance,
    ("GET", "/v1/balance_transactions"): list_all,
    ("GET", "/v1/balance_transactions/*"): retriever("balance_transaction"),
}
