"""Every call that the emulated Stripe knows."""

from __future__ import annotations

from standins.payments.stripe import (
    charges,
    checkout,
    connect,
    customers,
    disputes,
    hooks,
    intents,
    methods,
    money,
    payouts,
    refunds,
    setup,
)
from standins.payments.stripe.call import Act, Routes

ALL: Routes = {
    **charges.ROUTES,
    **checkout.ROUTES,
    **connect.ROUTES,
    **customers.ROUTES,
    **disputes.ROUTES,
    **hooks.ROUTES,
    **intents.ROUTES,
    **methods.ROUTES,
    **money.ROUTES,
    **payouts.ROUTES,
    **refunds.ROUTES,
    **setup.ROUTES,
}
# What a browser may call, with the publishable key.
FOR_CLIENTS = {
    ("POST", "/v1/payment_methods"),
    ("GET", "/v1/setup_intents/*"),
    ("POST", "/v1/setup_intents/*/confirm"),
    ("GET", "/v1/payment_intents/*"),
    ("POST", "/v1/payment_intents/*/confirm"),
}


def find(method: str, path: str) -> tuple[Act, tuple[str, ...], str] | None:
    """The act, the variable parts of the path, and the route's pattern."""
    parts = path.strip("/").split("/")
    for (verb, pattern), act in ALL.items():
        wanted = pattern.strip("/").split("/")
        if verb != method or len(wanted) != len(parts):
            continue
        if all(part in ("*", given) for part, given in zip(wanted, parts, strict=True)):
            ids = tuple(given for part, given in zip(wanted, parts, strict=True) if part == "*")
            return act, ids, pattern
    return None
