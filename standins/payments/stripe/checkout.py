"""Checkout sessions: a page where a person, or a test, pays; it expires."""

from __future__ import annotations

from standins.payments.stripe import attempts
from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.cards import DECLINES
from standins.payments.stripe.customers import living, make_customer
from standins.payments.stripe.forms import Params
from standins.payments.stripe.intents import CAPTURE, USAGES, make_intent
from standins.payments.stripe.methods import attach_to, refuse_card, usable
from standins.payments.stripe.money import check_least
from standins.payments.stripe.options import client_secret
from standins.payments.stripe.refusals import invalid, required

HOUR = 3600
EXPIRES_MIN, EXPIRES_MAX = HOUR // 2, 24 * HOUR
LINES_MAX = 100


def create(call: Call) -> Thing:
    params = call.params
    mode = params.one_of("mode", ("payment", "setup", "subscription"))
    if mode is None:
        raise required("mode")
    if mode == "subscription":
        raise invalid("This stand-in has no subscriptions.", "mode")
    total, currency, lines = _lines(params)
    customer = params.text("customer") or None
    fields = {
        "cancel_url": params.text("cancel_url"),
        "success_url": params.must("success_url"),
        "client_reference_id": params.text("client_reference_id", most=200),
        "customer_creation": params.one_of("customer_creation", ("always", "if_required")),
        "customer_email": params.text("customer_email"),
        "metadata": params.metadata(),
    }
    intent, setup = params.child("payment_intent_data"), params.child("setup_intent_data")
    asked = {"payment": _intent_fields(intent), "setup": _setup_fields(setup)}[mode]
    expires = params.integer("expires_at") or call.desk.now + EXPIRES_MAX
    params.texts("payment_method_types")
    params.text("currency")
    params.ignore("locale", "billing_address_collection", "submit_type", "ui_mode")
    params.ignore("payment_method_options", "saved_payment_method_options", "customer_update")
    params.done()
    if not EXPIRES_MIN - 60 <= expires - call.desk.now <= EXPIRES_MAX + 60:
        words = "The `expires_at` timestamp must be between 30 minutes and 24 hours from now."
        raise invalid(words, "expires_at")
    if mode == "payment":
        if not lines:
            raise required("line_items")
        check_least(total, currency)
    if customer:
        living(call, customer, "customer")
    return _make(call, mode, total, currency, customer, expires, asked, fields)


def _make(
    call: Call,
    mode: str,
    total: int,
    currency: str,
    customer: str | None,
    expires: int,
    asked: Thing,
    fields: Thing,
) -> Thing:
    paying = mode == "payment"
    session = call.desk.make(
        "checkout.session",
        "cs_test",
        amount_subtotal=total if paying else None,
        amount_total=total if paying else None,
        automatic_tax={"enabled": False, "status": None},
        currency=currency if paying else None,
        customer=customer,
        customer_details=None,
        expires_at=expires,
        mode=mode,
        payment_intent=None,
        payment_method_types=["card"],
        payment_status="unpaid" if paying else "no_payment_required",
        setup_intent=None,
        status="open",
        ui_mode="hosted_page",
        **fields,
    )
    session["url"] = f"{call.book.url}/_stand-in/pages/pay/{session['id']}"
    call.book.asked[session["id"]] = asked
    call.book.later(expires - call.desk.now, lambda: _expire(call.desk, session))
    return session


def _lines(params: Params) -> tuple[int, str, int]:
    """The sum, its currency, and how many lines there are."""
    total, currency, count = 0, "usd", 0
    for line in params.children("line_items"):
        price = line.child("price_data")
        product = price.child("product_data")
        product.must("name")
        product.ignore("description", "images", "metadata", "tax_code", "unit_label")
        currency = price.must("currency").lower()
        price.ignore("tax_behavior")
        quantity = line.integer("quantity", least=1)
        if quantity is None:
            raise required(line.name("quantity"))
        total += price.must_integer("unit_amount", least=0) * quantity
        count += 1
    if count > LINES_MAX:
        raise invalid(f"A session has at most {LINES_MAX} line items.", "line_items")
    return total, currency, count


def _intent_fields(params: Params) -> Thing:
    return {
        "capture_method": params.one_of("capture_method", CAPTURE) or "automatic_async",
        "description": params.text("description"),
        "metadata": params.metadata(),
        "receipt_email": params.text("receipt_email"),
        "setup_future_usage": params.one_of("setup_future_usage", USAGES),
        "statement_descriptor_suffix": params.text("statement_descriptor_suffix"),
        "transfer_group": params.text("transfer_group"),
    }


def _setup_fields(params: Params) -> Thing:
    return {"description": params.text("description"), "metadata": params.metadata()}


def pay(call: Call, session: Thing, card: str, *, email: str | None = None) -> None:
    """What a person does on the page; a refused card leaves the session open. The call's desk
    acts for the person, so that no parameters are read."""
    if session["status"] != "open":
        raise ValueError(f"the session is {session['status']}")
    desk = call.desk
    if session["customer"] is None and session["customer_creation"] == "always":
        session["customer"] = make_customer(desk, email=email)["id"]
    session["customer_details"] = {"email": email or session["customer_email"], "name": None}
    if session["mode"] == "setup":
        _keep(call, session, card)
    else:
        _charge(call, session, card)


def _charge(call: Call, session: Thing, card: str) -> None:
    desk = call.desk
    intent = desk.table("payment_intent").get(session["payment_intent"] or "")
    if intent is None:
        fields = {
            "customer": session["customer"],
            "automatic_payment_methods": None,
            "confirmation_method": "automatic",
            **call.book.asked[session["id"]],
        }
        total, currency = session["amount_total"], session["currency"]
        intent = make_intent(call, total, currency, fields, ["card"])
        session["payment_intent"] = intent["id"]
        desk.emit("payment_intent.created", intent)
    intent["payment_method"] = attempts.fitting(desk, intent, card)["id"]
    asked = attempts.Asked(return_url=session["success_url"])
    attempts.confirm(desk, intent, asked)
    settle(desk, intent)


def settle(desk: Desk, intent: Thing) -> None:
    """Complete the session of an intent that was paid; others are left as they are."""
    if intent["status"] not in ("succeeded", "requires_capture"):
        return
    for session in desk.table("checkout.session").values():
        if session["payment_intent"] == intent["id"] and session["status"] == "open":
            _complete(desk, session, paid=intent["status"] == "succeeded")


def _complete(desk: Desk, session: Thing, *, paid: bool) -> None:
    session |= {"status": "complete", "url": None}
    if paid:
        session["payment_status"] = "paid"
    desk.emit("checkout.session.completed", session)


def _keep(call: Call, session: Thing, card: str) -> None:
    desk = call.desk
    method = usable(desk, card)
    hidden = call.book.hidden[method["id"]]
    if hidden.card.decline and not hidden.card.attaches:
        raise refuse_card(DECLINES[hidden.card.decline])
    intent = desk.make(
        "setup_intent",
        "seti",
        automatic_payment_methods=None,
        cancellation_reason=None,
        customer=session["customer"],
        last_setup_error=None,
        next_action=None,
        payment_method=method["id"],
        payment_method_types=["card"],
        status="succeeded",
        usage="off_session",
        **call.book.asked[session["id"]],
    )
    intent["client_secret"] = client_secret(call.book, intent["id"])
    if session["customer"]:
        attach_to(desk, method, session["customer"])
    hidden.set_up = True
    session["setup_intent"] = intent["id"]
    desk.emit("setup_intent.succeeded", intent)
    _complete(desk, session, paid=False)


def _expire(desk: Desk, session: Thing) -> None:
    if session["status"] != "open":
        return
    intent = desk.table("payment_intent").get(session["payment_intent"] or "")
    if intent is not None and intent["status"] not in ("succeeded", "canceled"):
        attempts.cancel(desk, intent, "automatic")
    session |= {"status": "expired", "url": None}
    desk.emit("checkout.session.expired", session)


def expire(call: Call) -> Thing:
    session = call.own("checkout.session")
    call.params.done()
    if session["status"] != "open":
        words = 'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
        raise invalid(f"{words}Session has a status of {session['status']}.")
    _expire(call.desk, session)
    return session


def list_all(call: Call) -> Thing:
    wanted = {name: call.params.text(name) for name in ("customer", "payment_intent", "status")}
    rows = [
        row
        for row in call.desk.table("checkout.session").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("checkout.session", rows)


ROUTES: Routes = {
    ("POST", "/v1/checkout/sessions"): create,
    ("GET", "/v1/checkout/sessions"): list_all,
    ("GET", "/v1/checkout/sessions/*"): retriever("checkout.session"),
    ("POST", "/v1/checkout/sessions/*/expire"): expire,
}
