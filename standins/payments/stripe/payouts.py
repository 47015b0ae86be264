"""Transfers to connected accounts, their reversals, and payouts to banks."""

from __future__ import annotations

from standins.payments.stripe.book import DAY, Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.connect import TEST_BANKS
from standins.payments.stripe.money import available, currency_of, move
from standins.payments.stripe.refusals import invalid, no_such

IN_TRANSIT_SECONDS = 60.0
ARRIVAL_SECONDS = float(DAY)
NO_CAPABILITY = (
    "Your destination account needs to have at least one of the following capabilities enabled: "
    "transfers, crypto_transfers, legacy_payments"
)
NO_FUNDS = (
    "You have insufficient available funds in your Stripe account. Try adding funds directly to "
    "your available balance by creating Charges using the 4000000000000077 test card. See: "
    "https://stripe.com/docs/testing#available-balance"
)


def transfer(call: Call) -> Thing:
    params = call.params
    amount = params.must_integer("amount", least=1)
    currency, destination = currency_of(call), params.must("destination")
    group, source = params.text("transfer_group"), params.text("source_transaction")
    description, metadata = params.text("description"), params.metadata()
    params.ignore("source_type")
    params.done()
    account = call.book.platform.table("account").get(destination)
    if account is None:
        raise no_such("destination", destination, param="destination")
    if account["capabilities"].get("transfers") != "active":
        code = "insufficient_capabilities_for_transfer"
        raise invalid(NO_CAPABILITY, "destination", code)
    if source:
        _within_source(call, source, amount)
    elif available(call.desk, currency) < amount:
        raise invalid(NO_FUNDS, code="balance_insufficient")
    made = call.desk.make(
        "transfer",
        "tr",
        amount=amount,
        amount_reversed=0,
        balance_transaction=None,
        currency=currency,
        description=description,
        destination=destination,
        destination_payment=call.book.new_id("py"),
        metadata=metadata,
        reversals={"object": "list", "data": [], "has_more": False, "url": ""},
        reversed=False,
        source_transaction=source,
        source_type="card",
        transfer_group=group,
    )
    made["reversals"]["url"] = f"/v1/transfers/{made['id']}/reversals"
    row = move(call.desk, "transfer", -amount, currency, made["id"])
    made["balance_transaction"] = row["id"]
    there = call.book.desk(destination)
    move(there, "payment", amount, currency, made["destination_payment"])
    call.desk.emit("transfer.created", made)
    return made


def _within_source(call: Call, source: str, amount: int) -> None:
    charge = call.desk.find("charge", source, param="source_transaction")
    used = sum(
        row["amount"] - row["amount_reversed"]
        for row in call.desk.table("transfer").values()
        if row["source_transaction"] == source
    )
    if used + amount > charge["amount"]:
        words = "The transfers of this source_transaction are more than its charge."
        raise invalid(words, "amount", "transfer_source_balance_parameters_mismatch")


def reverse(call: Call) -> Thing:
    made = call.own("transfer")
    params = call.params
    left = made["amount"] - made["amount_reversed"]
    amount = params.integer("amount", least=1) or left
    metadata = params.metadata()
    params.ignore("description", "refund_application_fee")
    params.done()
    if amount > left or not left:
        words = f"Transfer {made['id']} has {left} left that could be reversed."
        raise invalid(words, "amount")
    there = call.book.desk(made["destination"])
    if available(there, made["currency"]) < amount:
        words = "The connected account's balance is less than what is to be reversed."
        raise invalid(words, "amount", "balance_insufficient")
    reversal = call.desk.make(
        "transfer_reversal",
        "trr",
        amount=amount,
        balance_transaction=None,
        currency=made["currency"],
        metadata=metadata,
        transfer=made["id"],
    )
    row = move(call.desk, "transfer_refund", amount, made["currency"], reversal["id"])
    move(there, "payment_refund", -amount, made["currency"], reversal["id"])
    reversal["balance_transaction"] = row["id"]
    made["amount_reversed"] += amount
    made["reversed"] = made["amount_reversed"] == made["amount"]
    made["reversals"]["data"].append(dict(reversal))
    call.desk.emit("transfer.reversed", made)
    return reversal


def update_transfer(call: Call) -> Thing:
    made = call.own("transfer")
    metadata = call.params.metadata(made["metadata"])
    call.params.ignore("description")
    call.params.done()
    made["metadata"] = metadata
    return made


def list_transfers(call: Call) -> Thing:
    wanted = {name: call.params.text(name) for name in ("destination", "transfer_group")}
    rows = [
        row
        for row in call.desk.table("transfer").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("transfer", rows)


def pay_out(call: Call) -> Thing:
    params = call.params
    amount = params.must_integer("amount", least=1)
    currency = currency_of(call)
    description, metadata = params.text("description"), params.metadata()
    method = params.one_of("method", ("standard", "instant")) or "standard"
    params.ignore("statement_descriptor", "source_type", "destination")
    params.done()
    _may_pay_out(call, currency, amount)
    made = call.desk.make(
        "payout",
        "po",
        amount=amount,
        arrival_date=call.desk.now + DAY,
        automatic=False,
        balance_transaction=None,
        currency=currency,
        description=description,
        destination=_bank(call),
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        metadata=metadata,
        method=method,
        status="pending",
        type="bank_account",
    )
    row = move(call.desk, "payout", -amount, currency, made["id"])
    made["balance_transaction"] = row["id"]
    call.desk.emit("payout.created", made)
    desk = call.desk
    call.book.later(IN_TRANSIT_SECONDS, lambda: _step(desk, made, "pending", "in_transit"))
    call.book.later(ARRIVAL_SECONDS, lambda: _arrive(desk, made))
    return made


def _may_pay_out(call: Call, currency: str, amount: int) -> None:
    if call.desk.account:
        account = call.book.platform.find("account", call.desk.account)
        if not account["payouts_enabled"]:
            words = "Payouts are not enabled for this account."
            raise invalid(words, code="payouts_not_allowed")
    if available(call.desk, currency) < amount:
        words = "You have insufficient funds in your Stripe account for this transfer."
        raise invalid(f"{words} Your card balance is too low.", code="balance_insufficient")


def _bank(call: Call) -> str:
    for bank in call.desk.table("bank_account"):
        return bank
    return "ba_standinplatform"


def _step(desk: Desk, made: Thing, before: str, after: str) -> None:
    if made["status"] == before:
        made["status"] = after
        desk.emit("payout.updated", made, {"status": before})


def _arrive(desk: Desk, made: Thing) -> None:
    """The bank has it, or sends it back."""
    if made["status"] != "in_transit":
        return
    why = TEST_BANKS.get(desk.book.banks.get(desk.account, ""))
    if why is None:
        made["status"] = "paid"
        desk.emit("payout.paid", made)
        return
    fail(desk, made, why)


def fail(desk: Desk, made: Thing, why: str) -> None:
    """The bank sent it back; also one that was said to be paid."""
    if made["status"] in ("failed", "canceled"):
        raise ValueError(f"the payout is {made['status']}")
    row = move(desk, "payout_failure", made["amount"], made["currency"], made["id"])
    made |= {
        "status": "failed",
        "failure_balance_transaction": row["id"],
        "failure_code": why,
        "failure_message": "The bank account could not be paid.",
    }
    desk.emit("payout.failed", made)


def cancel(call: Call) -> Thing:
    made = call.own("payout")
    call.params.done()
    if made["status"] != "pending":
        raise invalid("Only a pending payout can be canceled.", code="payouts_not_cancelable")
    move(call.desk, "payout_failure", made["amount"], made["currency"], made["id"])
    made["status"] = "canceled"
    call.desk.emit("payout.canceled", made)
    return made


def list_payouts(call: Call) -> Thing:
    wanted = {name: call.params.text(name) for name in ("status", "destination")}
    rows = [
        row
        for row in call.desk.table("payout").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("payout", rows)


ROUTES: Routes = {
    ("POST", "/v1/transfers"): transfer,
    ("GET", "/v1/transfers"): list_transfers,
    ("GET", "/v1/transfers/*"): retriever("transfer"),
    ("POST", "/v1/transfers/*"): update_transfer,
    ("POST", "/v1/transfers/*/reversals"): reverse,
    ("POST", "/v1/payouts"): pay_out,
    ("GET", "/v1/payouts"): list_payouts,
    ("GET", "/v1/payouts/*"): retriever("payout"),
    ("POST", "/v1/payouts/*/cancel"): cancel,
}
