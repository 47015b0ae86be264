"""Disputes: a bank takes the money back, evidence is sent, someone wins."""

from __future__ import annotations

from standins.payments.stripe.book import DAY, Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.money import move
from standins.payments.stripe.refusals import invalid

REASONS = ("fraudulent", "product_not_received", "duplicate", "general", "unrecognized")
OVER = ("won", "lost", "warning_closed", "prevented")
DUE_DAYS = 9
DECIDE_SECONDS = 5.0  # until evidence that says so wins or loses


def open_dispute(
    desk: Desk, charge: Thing, reason: str, *, amount: int | None = None, inquiry: bool = False
) -> Thing:
    """The card's owner complains. An inquiry takes no money yet."""
    dispute = desk.make(
        "dispute",
        "du",
        amount=amount or charge["amount"],
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={"uncategorized_text": None},
        evidence_details={
            "due_by": desk.now + DUE_DAYS * DAY,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    charge["disputed"] = True
    charge["dispute"] = dispute["id"]
    desk.emit("charge.dispute.created", dispute)
    if not inquiry:
        fee = desk.book.rules.dispute_fee
        _money(desk, dispute, -dispute["amount"], fee, "withdrawn")
    return dispute


def _money(desk: Desk, dispute: Thing, amount: int, fee: int, what: str) -> None:
    row = move(desk, "adjustment", amount, dispute["currency"], dispute["id"], fee=fee)
    dispute["balance_transactions"].append(dict(row))
    desk.emit(f"charge.dispute.funds_{what}", dispute)


def decide(desk: Desk, dispute: Thing, status: str) -> None:
    """The bank's last word: ``won`` (the money comes back), ``lost``, ``warning_closed``."""
    if dispute["status"] in OVER:
        raise ValueError(f"the dispute is {dispute['status']}")
    dispute["status"] = status
    if status == "won" and dispute["balance_transactions"]:
        _money(desk, dispute, dispute["amount"], 0, "reinstated")
    if status in ("won", "warning_closed"):
        desk.table("charge")[dispute["charge"]]["disputed"] = status == "won"
    desk.emit("charge.dispute.closed", dispute)


def update(call: Call) -> Thing:
    dispute = call.own("dispute")
    params = call.params
    evidence = params.any("evidence") or {}
    submit = params.flag("submit")
    metadata = params.metadata(dispute["metadata"])
    params.done()
    if dispute["status"] in OVER or dispute["evidence_details"]["submission_count"]:
        raise invalid("This dispute is already closed or its evidence was submitted.")
    dispute["metadata"] = metadata
    if isinstance(evidence, dict) and evidence:
        dispute["evidence"] |= evidence
        dispute["evidence_details"]["has_evidence"] = True
    if submit is not False and evidence:
        _submit(call.desk, dispute)
    call.desk.emit("charge.dispute.updated", dispute, {})
    return dispute


def _submit(desk: Desk, dispute: Thing) -> None:
    dispute["evidence_details"]["submission_count"] = 1
    inquiry = dispute["status"].startswith("warning")
    dispute["status"] = "warning_under_review" if inquiry else "under_review"
    words = dispute["evidence"].get("uncategorized_text")
    ends = {"winning_evidence": "won", "losing_evidence": "lost"}
    if words in ends and not inquiry:

        def end() -> None:
            if dispute["status"] not in OVER:
                decide(desk, dispute, ends[words])

        desk.book.later(DECIDE_SECONDS, end)


def close(call: Call) -> Thing:
    dispute = call.own("dispute")
    call.params.done()
    if dispute["status"] in OVER:
        raise invalid("This dispute is already closed.")
    decide(call.desk, dispute, "lost")
    return dispute


def list_all(call: Call) -> Thing:
    params = call.params
    wanted = {name: params.text(name) for name in ("charge", "payment_intent")}
    rows = [
        row
        for row in call.desk.table("dispute").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("dispute", rows)


ROUTES: Routes = {
    ("GET", "/v1/disputes"): list_all,
    ("GET", "/v1/disputes/*"): retriever("dispute"),
    ("POST", "/v1/disputes/*"): update,
    ("POST", "/v1/disputes/*/close"): close,
}
