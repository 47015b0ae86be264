"""An emulated Stripe that the ``stripe`` library accepts unmodified (docs/stand-ins.md)."""

from __future__ import annotations

import random

from kernel.clock import Clock
from standins.payments.stripe.asgi import App, Post
from standins.payments.stripe.book import Book, Rules
from standins.payments.stripe.hooks import make_endpoint
from standins.payments.stripe.own import own
from standins.payments.stripe.shell import Shell

KEY = "sk_test_stand_in"
SECRET = "whsec_stand_in"  # noqa: S105 (a stand-in's)


def make_app(
    clock: Clock,
    chance: random.Random,
    *,
    key: str = KEY,
    rules: Rules | None = None,
    post: Post | None = None,
) -> App:
    """One emulated Stripe: an ASGI app; ``app.book`` is what it knows, ``app.shell`` its doors."""
    return App(Shell(Book(clock, chance, rules), key, own), post)


def add_webhook(app: App, url: str, *, connect: bool = False, secret: str = SECRET) -> str:
    """Events of every kind go to ``url`` from now on; the id of the endpoint."""
    made = make_endpoint(app.book, url, ["*"], connect=connect, secret=secret)
    return str(made["id"])
