"""One emulated Stripe for these tests, and the official client in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.stripe_desk import StripeDesk, start_stripe


@pytest.fixture(scope="module")
def desk() -> Iterator[StripeDesk]:
    started = start_stripe("--seed", "7")
    yield started
    started.stop()


@pytest.fixture
def api(desk: StripeDesk) -> Any:
    """The official client; each call is sent once."""
    desk.own("faults", "DELETE")
    return desk.client()


@pytest.fixture
def customer(api: Any) -> str:
    return str(api.customers.create({"email": "a@example.com"}).id)
