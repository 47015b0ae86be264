"""Charges: what an attempt to pay leaves behind, failed, held or captured."""

from __future__ import annotations

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.cards import Card, Decline
from standins.payments.stripe.disputes import open_dispute
from standins.payments.stripe.money import move

SLOW_BALANCE_SECONDS = 1.0  # until an `automatic_async` charge has its balance transaction


def make_charge(desk: Desk, intent: Thing, method: Thing) -> Thing:
    card = {name: method["card"][name] for name in ("brand", "country", "last4", "fingerprint")}
    return desk.make(
        "charge",
        "ch",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        balance_transaction=None,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="STAND-IN",
        captured=False,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        outcome=_outcome("authorized"),
        paid=True,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": "card", "card": card},
        receipt_email=intent["receipt_email"],
        receipt_url=f"{desk.book.url}/receipts/{intent['id']}",
        refunded=False,
        source_transfer=None,
        status="succeeded",
        transfer_group=intent["transfer_group"],
    )


def _outcome(kind: str, **more: object) -> Thing:
    return {
        "advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "seller_message": "Payment complete.",
        "type": kind,
        **more,
    }


def failed_charge(desk: Desk, intent: Thing, method: Thing, decline: Decline) -> Thing:
    charge = make_charge(desk, intent, method)
    kind = "blocked" if decline.blocked else "issuer_declined"
    charge |= {
        "paid": False,
        "status": "failed",
        "failure_code": decline.code,
        "failure_message": decline.message,
        "outcome": _outcome(
            kind,
            advice_code=decline.advice or None,
            network_decline_code=decline.network or None,
            network_status="not_sent_to_network" if decline.blocked else "declined_by_network",
            reason="highest_risk_level" if decline.blocked else decline.decline_code,
            risk_level="highest" if decline.blocked else "normal",
            seller_message="The bank did not return any further details with this decline.",
        ),
    }
    desk.emit("charge.failed", charge)
    return charge


def held_charge(desk: Desk, intent: Thing, method: Thing) -> Thing:
    """Authorized; the money stays with the card's owner until it is captured."""
    charge = make_charge(desk, intent, method)
    desk.emit("charge.succeeded", charge)
    return charge


def capture(desk: Desk, charge: Thing, amount: int, card: Card, *, slow: bool) -> None:
    """Take ``amount`` of a charge; the rest goes back to the card."""
    charge |= {"captured": True, "amount_captured": amount}
    rest = charge["amount"] - amount
    if rest:
        charge["amount_refunded"] = rest

    def book_it() -> None:
        rules = desk.book.rules
        fee = (amount * rules.fee_per_mille + 500) // 1000 + rules.fee_fixed
        ripe = 0 if card.at_once else rules.ripe_seconds
        row = move(
            desk, "charge", amount, charge["currency"], charge["id"], fee=fee, ripe_seconds=ripe
        )
        charge["balance_transaction"] = row["id"]
        if slow:
            desk.emit("charge.updated", charge, {"balance_transaction": None})
        if card.dispute:
            open_dispute(desk, charge, card.dispute, inquiry=card.inquiry)

    if slow:
        desk.book.later(SLOW_BALANCE_SECONDS, book_it)
    else:
        book_it()


def list_all(call: Call) -> Thing:
    params = call.params
    wanted = {name: params.text(name) for name in ("customer", "payment_intent", "transfer_group")}
    rows = [
        row
        for row in call.desk.table("charge").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("charge", rows)


def update(call: Call) -> Thing:
    charge = call.own("charge")
    metadata = call.params.metadata(charge["metadata"])
    description = call.params.text("description")
    call.params.done()
    charge["metadata"] = metadata
    charge["description"] = description or charge["description"]
    call.desk.emit("charge.updated", charge, {})
    return charge


ROUTES: Routes = {
    ("GET", "/v1/charges"): list_all,
    ("GET", "/v1/charges/*"): retriever("charge"),
    ("POST", "/v1/charges/*"): update,
}
