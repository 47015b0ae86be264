"""What payment and setup intents have in common: secrets, accepted methods, what to do next."""

from __future__ import annotations

from standins.payments.stripe.book import Book, Thing
from standins.payments.stripe.forms import Params
from standins.payments.stripe.refusals import invalid


def client_secret(book: Book, intent: str) -> str:
    return f"{intent}_{book.new_id('secret', 25)}"


def accepted_types(params: Params) -> tuple[list[str], Thing | None]:
    """The types of methods, and ``automatic_payment_methods`` as it is shown."""
    given = params.texts("payment_method_types")
    automatic = params.child("automatic_payment_methods")
    enabled = automatic.flag("enabled")
    redirects = automatic.one_of("allow_redirects", ("always", "never")) or "always"
    if given and enabled:
        words = (
            "You may only specify one of these parameters: automatic_payment_methods, "
            "payment_method_types."
        )
        raise invalid(words)
    if given:
        unknown = [one for one in given if one not in ("card", "link")]
        if unknown:
            words = f"The payment method type provided: {unknown[0]} is invalid."
            raise invalid(f"{words} This stand-in knows cards alone.", "payment_method_types")
        return given, None
    if enabled is False:
        return ["card"], None
    return ["card"], {"allow_redirects": redirects, "enabled": True}


def next_action(book: Book, intent: str, return_url: str | None) -> Thing:
    """Where the card's owner proves who it is: a page of the stand-in."""
    page = f"{book.url}/_stand-in/pages/authenticate/{intent}"
    if return_url:
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": page},
        }
    sdk = {"type": "three_d_secure_redirect", "stripe_js": page, "source": None}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
