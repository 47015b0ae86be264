"""Refunds: money goes back to the card, at once, later, or not after all."""

from __future__ import annotations

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.money import move
from standins.payments.stripe.refusals import invalid, required

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
LATER_SECONDS = 5.0


def create(call: Call) -> Thing:
    params = call.params
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    amount = params.integer("amount", least=1)
    reason, metadata = params.one_of("reason", REASONS), params.metadata()
    params.ignore("refund_application_fee", "instructions_email", "currency")
    if params.flag("reverse_transfer"):
        words = "The charge has no transfer: this stand-in has no destination charges."
        raise invalid(words, "reverse_transfer")
    params.done()
    charge = _charge(call, charge_id, intent_id)
    amount = _refundable(call.desk, charge, amount)
    refund = call.desk.make(
        "refund",
        "re",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"type": "card", "card": {"type": "refund"}},
        failure_balance_transaction=None,
        failure_reason=None,
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        reason=reason,
        receipt_number=None,
        source_transfer_reversal=None,
        status="pending",
        transfer_reversal=None,
    )
    _take_back(call.desk, charge, refund)
    return refund


def _charge(call: Call, charge_id: str | None, intent_id: str | None) -> Thing:
    if charge_id:
        return call.desk.find("charge", charge_id, param="charge")
    if not intent_id:
        raise required("payment_intent")
    intent = call.desk.find("payment_intent", intent_id, param="payment_intent")
    if intent["status"] != "succeeded":
        words = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
        raise invalid(words, "payment_intent")
    return call.desk.table("charge")[intent["latest_charge"]]


def _refundable(desk: Desk, charge: Thing, amount: int | None) -> int:
    left = int(charge["amount"] - charge["amount_refunded"])
    dispute = desk.table("dispute").get(charge.get("dispute") or "")
    if dispute is not None and dispute["status"] not in ("won", "warning_closed"):
        words = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid(words, code="charge_disputed")
    if not left:
        words = f"Charge {charge['id']} has already been refunded."
        raise invalid(words, code="charge_already_refunded")
    if amount is not None and amount > left:
        words = (
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}), in "
            "the smallest unit of the currency."
        )
        raise invalid(words, "amount")
    return amount or left


def _take_back(desk: Desk, charge: Thing, refund: Thing) -> None:
    card = desk.book.hidden[charge["payment_method"]].card
    row = move(desk, "refund", -refund["amount"], refund["currency"], refund["id"])
    refund["balance_transaction"] = row["id"]
    charge["amount_refunded"] += refund["amount"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    refund["status"] = "pending" if card.refund == "pending" else "succeeded"
    desk.emit("refund.created", refund)
    desk.emit("charge.refunded", charge)
    if card.refund == "pending":
        desk.book.later(LATER_SECONDS, lambda: _update(desk, refund, "succeeded"))
    elif card.refund == "failed":
        desk.book.later(LATER_SECONDS, lambda: _fail(desk, charge, refund))


def _update(desk: Desk, refund: Thing, status: str) -> None:
    if refund["status"] in ("canceled", "failed"):
        return
    before = {"status": refund["status"]}
    refund["status"] = status
    desk.emit("refund.updated", refund, before)


def _fail(desk: Desk, charge: Thing, refund: Thing) -> None:
    """The bank sends the money back to us: the refund did not happen."""
    row = move(desk, "refund_failure", refund["amount"], refund["currency"], refund["id"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    refund |= {
        "failure_balance_transaction": row["id"],
        "failure_reason": "expired_or_canceled_card",
        "status": "failed",
    }
    desk.emit("refund.failed", refund)


def update(call: Call) -> Thing:
    refund = call.own("refund")
    metadata = call.params.metadata(refund["metadata"])
    call.params.done()
    refund["metadata"] = metadata
    call.desk.emit("refund.updated", refund, {})
    return refund


def list_all(call: Call) -> Thing:
    wanted = {name: call.params.text(name) for name in ("charge", "payment_intent")}
    rows = [
        row
        for row in call.desk.table("refund").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("refund", rows)


ROUTES: Routes = {
    ("POST", "/v1/refunds"): create,
    ("GET", "/v1/refunds"): list_all,
    ("GET", "/v1/refunds/*"): retriever("refund"),
    ("POST", "/v1/refunds/*"): update,
}
