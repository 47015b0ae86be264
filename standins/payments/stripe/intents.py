"""PaymentIntents as calls: create, change, confirm, capture, cancel, list."""

from __future__ import annotations

from standins.payments.stripe import attempts
from standins.payments.stripe.book import Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.charges import capture as capture_charge
from standins.payments.stripe.customers import living
from standins.payments.stripe.forms import Params
from standins.payments.stripe.money import check_least, currency_of
from standins.payments.stripe.options import accepted_types, client_secret
from standins.payments.stripe.refusals import invalid, wrong_state

OPEN = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
CHANGEABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CAPTURE = ("automatic", "automatic_async", "manual")
USAGES = ("off_session", "on_session")
REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
NO_DESTINATION = ("transfer_data", "application_fee_amount", "on_behalf_of")


def create(call: Call) -> Thing:
    params = call.params
    amount, currency = call.params.must_integer("amount", least=1), currency_of(call)
    check_least(amount, currency)
    _no_destination(params)
    customer = params.text("customer") or None
    types, automatic = accepted_types(params)
    fields = {
        "capture_method": params.one_of("capture_method", CAPTURE) or "automatic_async",
        "confirmation_method": params.one_of("confirmation_method", ("automatic", "manual"))
        or "automatic",
        "metadata": params.metadata(),
        **_plain(params, {}),
    }
    asked = _asked(params)
    confirm_now = params.flag("confirm") or False
    params.ignore("payment_method_options", "statement_descriptor", "shipping", "mandate_data")
    params.done()
    if asked.off_session and not confirm_now:
        words = "You cannot set `off_session` without `confirm` set to `true`."
        raise invalid(words, "off_session")
    if customer:
        living(call, customer, "customer")
    new: Thing = {"customer": customer, "automatic_payment_methods": automatic}
    method = attempts.fitting(call.desk, new, asked.method) if asked.method else None
    if confirm_now:
        attempts.check_return(new, asked, client=call.client)
        if method is None:
            raise invalid(attempts.NO_METHOD, code="payment_intent_unexpected_state")
    intent = make_intent(call, amount, currency, new | fields, types)
    if method:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    call.desk.emit("payment_intent.created", intent)
    if confirm_now:
        attempts.confirm(call.desk, intent, asked)
    return intent


def make_intent(call: Call, amount: int, currency: str, fields: Thing, types: list[str]) -> Thing:
    empty = {
        "amount_capturable": 0,
        "amount_received": 0,
        "amount_details": {"tip": {}},
        "application": None,
        "application_fee_amount": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {},
        "processing": None,
        "receipt_email": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "transfer_data": None,
        "transfer_group": None,
    }
    intent = call.desk.make(
        "payment_intent",
        "pi",
        amount=amount,
        currency=currency,
        payment_method_types=types,
        status="requires_payment_method",
        **(empty | fields),
    )
    intent["client_secret"] = client_secret(call.book, intent["id"])
    return intent


def _plain(params: Params, before: Thing) -> Thing:
    """What is only kept and shown."""
    fields: Thing = {}
    for name in ("description", "receipt_email", "statement_descriptor_suffix", "transfer_group"):
        given = params.text(name)
        fields[name] = before.get(name) if given is None else given or None
    usage = params.one_of("setup_future_usage", USAGES)
    fields["setup_future_usage"] = usage or before.get("setup_future_usage")
    return fields


def _asked(params: Params) -> attempts.Asked:
    asked = attempts.Asked(
        method=params.text("payment_method") or "",
        off_session=_off_session(params),
        return_url=params.text("return_url") or None,
        no_action=params.flag("error_on_requires_action") or False,
    )
    params.ignore("use_stripe_sdk", "payment_method_data")
    return asked


def _off_session(params: Params) -> bool:
    value = params.one_of("off_session", ("true", "false", "one_off", "recurring"))
    return value not in (None, "false")


def _no_destination(params: Params) -> None:
    for name in NO_DESTINATION:
        if params.any(name):
            words = "This stand-in has no destination charges: take the money, then transfer it."
            raise invalid(words, name)


def confirm(call: Call) -> Thing:
    intent = call.own("payment_intent")
    params = call.params
    asked = _asked(params)
    usage = params.one_of("setup_future_usage", USAGES)
    capture_method = params.one_of("capture_method", CAPTURE)
    receipt = params.text("receipt_email")
    params.ignore("payment_method_options", "shipping", "mandate_data", "payment_method_types")
    params.done()
    if intent["status"] not in CHANGEABLE:
        words = f"because it has a status of {intent['status']}"
        if intent["status"] == "succeeded":
            words = "because it has already succeeded after being previously confirmed"
        words = f"You cannot confirm this PaymentIntent {words}."
        raise wrong_state(words, payment_intent=intent)
    attempts.check_return(intent, asked, client=call.client)
    if asked.method:
        method = attempts.fitting(call.desk, intent, asked.method)
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    if not intent["payment_method"]:
        raise wrong_state(attempts.NO_METHOD, payment_intent=intent)
    intent["setup_future_usage"] = usage or intent["setup_future_usage"]
    intent["capture_method"] = capture_method or intent["capture_method"]
    intent["receipt_email"] = receipt or intent["receipt_email"]
    attempts.confirm(call.desk, intent, asked)
    return intent


def update(call: Call) -> Thing:
    intent = call.own("payment_intent")
    params = call.params
    amount = params.integer("amount", least=1)
    currency = (params.text("currency") or intent["currency"]).lower()
    fields = _plain(params, intent) | {"metadata": params.metadata(intent["metadata"])}
    customer, method = params.text("customer"), params.text("payment_method")
    params.ignore("payment_method_options", "payment_method_types", "shipping")
    _no_destination(params)
    params.done()
    harmless = not (amount or customer or method) and currency == intent["currency"]
    if intent["status"] not in CHANGEABLE and not harmless:
        words = f"This PaymentIntent's status is {intent['status']}: it could not be updated."
        raise wrong_state(words, payment_intent=intent)
    if amount:
        check_least(amount, currency)
        intent["amount"] = amount
    if customer:
        living(call, customer, "customer")
        intent["customer"] = customer
    if method:
        found = attempts.fitting(call.desk, intent, method)
        intent |= {"payment_method": found["id"], "status": "requires_confirmation"}
    intent |= fields | {"currency": currency}
    return intent


def capture(call: Call) -> Thing:
    intent = call.own("payment_intent")
    amount = call.params.integer("amount_to_capture", least=1)
    metadata = call.params.metadata(intent["metadata"])
    call.params.ignore("final_capture", "statement_descriptor_suffix", "statement_descriptor")
    _no_destination(call.params)
    call.params.done()
    if intent["status"] != "requires_capture":
        words = (
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture."
        )
        raise wrong_state(words, payment_intent=intent)
    amount = amount or intent["amount_capturable"]
    if amount > intent["amount_capturable"]:
        words = "Amount to capture is more than the amount that can be captured of this intent."
        raise invalid(words, "amount_to_capture", "amount_too_large", payment_intent=intent)
    charge = call.desk.table("charge")[intent["latest_charge"]]
    card = call.book.hidden[charge["payment_method"]].card
    slow = intent["capture_method"] == "automatic_async"
    capture_charge(call.desk, charge, amount, card, slow=slow)
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    intent["metadata"] = metadata
    call.desk.emit("charge.captured", charge)
    call.desk.emit("payment_intent.succeeded", intent)
    return intent


def cancel(call: Call) -> Thing:
    intent = call.own("payment_intent")
    reason = call.params.one_of("cancellation_reason", REASONS)
    call.params.done()
    if intent["status"] not in OPEN:
        words = (
            "You cannot cancel this PaymentIntent because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            f"canceled: {', '.join(OPEN)}."
        )
        raise wrong_state(words, payment_intent=intent)
    attempts.cancel(call.desk, intent, reason)
    return intent


def list_all(call: Call) -> Thing:
    customer = call.params.text("customer")
    rows = [
        row
        for row in call.desk.table("payment_intent").values()
        if customer in (None, row["customer"])
    ]
    return call.page("payment_intent", rows)


ROUTES: Routes = {
    ("POST", "/v1/payment_intents"): create,
    ("GET", "/v1/payment_intents"): list_all,
    ("GET", "/v1/payment_intents/*"): retriever("payment_intent"),
    ("POST", "/v1/payment_intents/*"): update,
    ("POST", "/v1/payment_intents/*/confirm"): confirm,
    ("POST", "/v1/payment_intents/*/capture"): capture,
    ("POST", "/v1/payment_intents/*/cancel"): cancel,
}
