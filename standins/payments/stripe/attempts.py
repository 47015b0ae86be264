"""One attempt to take a PaymentIntent's money: the bank's answer, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from standins.payments.stripe.book import DAY, Desk, Thing
from standins.payments.stripe.cards import (
    AUTHENTICATE,
    DECLINES,
    NOT_AUTHENTICATED,
    Decline,
    must_authenticate,
)
from standins.payments.stripe.charges import capture, failed_charge, held_charge
from standins.payments.stripe.methods import attach_to, refuse_card, usable
from standins.payments.stripe.options import next_action
from standins.payments.stripe.refusals import Refused, invalid

NO_METHOD = (
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
    "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
    "directly with a payment method or ConfirmationToken."
)
NO_RETURN = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because "
    "some of these payment methods might redirect your customer off of your page, you must provide "
    "a `return_url`. If you don't want to accept redirect-based payment methods, set "
    "`automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
    "Payment Intents."
)
OTHERS = (
    "The customer does not have a payment method with the ID {}. The payment method must be "
    "attached to the customer."
)
HOLD_SECONDS = 7 * DAY


@dataclass(frozen=True, slots=True)
class Asked:
    """How a confirmation is asked for."""

    method: str = ""
    off_session: bool = False
    return_url: str | None = None
    no_action: bool = False  # error_on_requires_action


def fitting(desk: Desk, intent: Thing, wanted: str) -> Thing:
    """The method, if this intent may be paid with it."""
    method = usable(desk, wanted)
    if method["customer"] and not intent["customer"]:
        words = (
            "The payment method you provided is attached to a customer so for security purposes "
            "you must provide the customer in the request."
        )
        raise invalid(words, "payment_method")
    if method["customer"] not in (None, intent["customer"]):
        raise invalid(OTHERS.format(wanted), "payment_method", "resource_missing")
    return method


def check_return(intent: Thing, asked: Asked, *, client: bool) -> None:
    automatic = intent["automatic_payment_methods"]
    if asked.off_session or client or asked.return_url or not automatic:
        return
    if automatic["allow_redirects"] == "always":
        raise invalid(NO_RETURN, "return_url", "payment_intent_invalid_parameter")


def confirm(desk: Desk, intent: Thing, asked: Asked) -> None:
    """Try to pay; raises ``Refused`` (402) where the bank says no, with the intent inside."""
    hidden = desk.book.hidden[intent["payment_method"]]
    asks = must_authenticate(hidden.card, off_session=asked.off_session, set_up=hidden.set_up)
    if asks and (asked.off_session or asked.no_action):
        raise _declined(desk, intent, AUTHENTICATE)
    if asks:
        action = next_action(desk.book, intent["id"], asked.return_url)
        intent |= {"status": "requires_action", "next_action": action}
        desk.emit("payment_intent.requires_action", intent)
        return
    take(desk, intent)


def take(desk: Desk, intent: Thing) -> None:
    """Charge the card; a slow bank answers later."""
    card = desk.book.hidden[intent["payment_method"]].card
    intent |= {"next_action": None, "last_payment_error": None}
    if not card.processing_seconds:
        _answer(desk, intent)
        return
    intent["status"] = "processing"
    desk.emit("payment_intent.processing", intent)

    def answer() -> None:
        if intent["status"] != "processing":
            return
        try:
            _answer(desk, intent)
        except Refused:
            return  # it stands in the intent

    desk.book.later(card.processing_seconds, answer)


def _answer(desk: Desk, intent: Thing) -> None:
    card = desk.book.hidden[intent["payment_method"]].card
    if card.decline:
        raise _declined(desk, intent, DECLINES[card.decline])
    _succeed(desk, intent)


def _succeed(desk: Desk, intent: Thing) -> None:
    method = desk.table("payment_method")[intent["payment_method"]]
    hidden = desk.book.hidden[method["id"]]
    if intent["setup_future_usage"] and intent["customer"]:
        attach_to(desk, method, intent["customer"])
        hidden.set_up = True
    elif method["customer"] is None:
        hidden.used_up = True
    charge = held_charge(desk, intent, method)
    intent["latest_charge"] = charge["id"]
    if intent["capture_method"] == "manual":
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        desk.emit("payment_intent.amount_capturable_updated", intent)
        desk.book.later(HOLD_SECONDS, lambda: _expire(desk, intent))
        return
    slow = intent["capture_method"] == "automatic_async"
    capture(desk, charge, intent["amount"], hidden.card, slow=slow)
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    desk.emit("payment_intent.succeeded", intent)


def _expire(desk: Desk, intent: Thing) -> None:
    """A hold that nobody captured ends by itself."""
    if intent["status"] == "requires_capture":
        cancel(desk, intent, "automatic")


def cancel(desk: Desk, intent: Thing, reason: str | None) -> None:
    if intent["status"] == "requires_capture":
        charge = desk.table("charge")[intent["latest_charge"]]
        charge |= {"refunded": True, "amount_refunded": charge["amount"]}
        desk.emit("charge.refunded", charge)
    intent |= {
        "status": "canceled",
        "canceled_at": desk.now,
        "cancellation_reason": reason,
        "amount_capturable": 0,
        "next_action": None,
        "processing": None,
    }
    desk.emit("payment_intent.canceled", intent)


def _declined(desk: Desk, intent: Thing, decline: Decline) -> Refused:
    """The refusal to raise; the intent is back at its beginning, the method taken off it."""
    method = desk.table("payment_method")[intent["payment_method"]]
    charge = failed_charge(desk, intent, method, decline)
    intent["latest_charge"] = charge["id"]
    refused = refuse_card(decline, charge=charge["id"], payment_method=dict(method))
    _send_back(desk, intent, refused)
    return refused


def _send_back(desk: Desk, intent: Thing, refused: Refused) -> None:
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = refused.body()["error"]
    desk.emit("payment_intent.payment_failed", intent)
    refused.objects["payment_intent"] = dict(intent)


def authenticated(desk: Desk, intent: Thing, *, passed: bool) -> None:
    """What the card's owner did at the bank's page."""
    if intent["status"] != "requires_action":
        raise ValueError(f"the intent is {intent['status']}")
    if not passed:
        method = desk.table("payment_method")[intent["payment_method"]]
        code = "payment_intent_authentication_failure"
        _send_back(desk, intent, invalid(NOT_AUTHENTICATED, code=code, payment_method=dict(method)))
        return
    try:
        take(desk, intent)
    except Refused:
        return  # it stands in the intent
