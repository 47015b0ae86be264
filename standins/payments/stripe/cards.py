"""The test cards: numbers, ready-made ids, and how each behaves, with its real decline codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decline:
    """How a bank says no: what the API tells of it."""

    code: str  # of the error
    decline_code: str
    message: str
    advice: str = ""  # advice_code
    network: str = ""  # network_decline_code
    blocked: bool = False  # by Stripe itself, not by the bank


DECLINES = {
    one.decline_code: one
    for one in (
        Decline(
            "card_declined", "generic_decline", "Your card was declined.", "try_again_later", "01"
        ),
        Decline(
            "card_declined",
            "insufficient_funds",
            "Your card has insufficient funds.",
            "try_again_later",
            "51",
        ),
        Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again", "41"),
        Decline(
            "card_declined", "stolen_card", "Your card was declined.", "do_not_try_again", "43"
        ),
        Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again", "54"),
        Decline(
            "incorrect_cvc",
            "incorrect_cvc",
            "Your card's security code is incorrect.",
            "confirm_card_data",
            "82",
        ),
        Decline(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
            "try_again_later",
            "96",
        ),
        Decline("card_declined", "try_again_later", "Your card was declined.", "try_again_later"),
        Decline(
            "card_declined", "issuer_not_available", "Your card was declined.", "try_again_later"
        ),
        Decline(
            "card_declined", "do_not_honor", "Your card was declined.", "try_again_later", "05"
        ),
        Decline("card_declined", "fraudulent", "Your card was declined.", "", "", True),
    )
}
AUTHENTICATE = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "confirm_card_data",
)
NOT_AUTHENTICATED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data "
    "or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
)


@dataclass(frozen=True, slots=True)
class Card:
    """A card and its bank. ``authenticate``: never, always, until_set_up, on_session."""

    number: str
    brand: str = "visa"
    decline: str = ""  # a decline code, on each charge
    attaches: bool = True  # may be saved and set up though its charges are declined
    authenticate: str = "never"
    dispute: str = ""  # a reason: each charge is disputed at once
    inquiry: bool = False
    at_once: bool = False  # its money needs not ripen
    refund: str = ""  # pending: succeeds later; failed: fails later
    processing_seconds: float = 0.0  # a charge is `processing` for so long first

    @property
    def last4(self) -> str:
        return self.number[-4:]


CARDS = {
    card.number: card
    for card in (
        Card("4242424242424242"),
        Card("4000056655665556"),
        Card("5555555555554444", brand="mastercard"),
        Card("378282246310005", brand="amex"),
        Card("4000000000000077", at_once=True),
        Card("4000000000000002", decline="generic_decline", attaches=False),
        Card("4000000000009995", decline="insufficient_funds", attaches=False),
        Card("4000000000009987", decline="lost_card", attaches=False),
        Card("4000000000009979", decline="stolen_card", attaches=False),
        Card("4000000000000069", decline="expired_card", attaches=False),
        Card("4000000000000127", decline="incorrect_cvc", attaches=False),
        Card("4000000000000119", decline="processing_error", attaches=False),
        Card("4000000000000341", decline="generic_decline"),
        Card("4000002500003155", authenticate="until_set_up"),
        Card("4000002760003184", authenticate="always"),
        Card("4000003800000446", authenticate="on_session"),
        Card("4000008260003178", authenticate="until_set_up", decline="insufficient_funds"),
        Card("4000008400001629", authenticate="always", decline="generic_decline"),
        Card("4000000000003220", authenticate="always"),
        Card("4000000000000259", dispute="fraudulent"),
        Card("4000000000002685", dispute="product_not_received"),
        Card("4000000000001976", dispute="fraudulent", inquiry=True),
        Card("4100000000000019", decline="fraudulent"),
        Card("4000000000007726", refund="pending"),
        Card("4000000000005126", refund="failed"),
    )
}
READY = {
    "pm_card_visa": "4242424242424242",
    "pm_card_visa_debit": "4000056655665556",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005",
    "pm_card_bypassPending": "4000000000000077",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_chargeDeclinedFraudulent": "4100000000000019",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequiredSetupForOffSession": "4000003800000446",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
    "pm_card_threeDSecure2Required": "4000000000003220",
    "pm_card_threeDSecureRequiredChargeDeclined": "4000008400001629",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_createDisputeProductNotReceived": "4000000000002685",
    "pm_card_createDisputeInquiry": "4000000000001976",
    "pm_card_radarBlock": "4100000000000019",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_refundFail": "4000000000005126",
}
# Stripe knows the same cards by the brand's name as well.
READY |= {
    name.replace("pm_card_", "pm_card_visa_"): number
    for name, number in READY.items()
    if name.startswith("pm_card_chargeDeclined")
}
TOKENS = {name.replace("pm_card_", "tok_"): number for name, number in READY.items()}
INCORRECT = "4242424242424241"


def must_authenticate(card: Card, *, off_session: bool, set_up: bool) -> bool:
    """Whether the bank wants to see the card's owner for this charge."""
    if card.authenticate == "always":
        return True
    if card.authenticate == "on_session":
        return not off_session
    return card.authenticate == "until_set_up" and not set_up
