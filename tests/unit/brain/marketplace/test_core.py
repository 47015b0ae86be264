"""Join tokens, enrolments and prices: what is refused, and with which word."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from brain.marketplace import core
from brain.marketplace.prices import default_price_nano
from kernel.errors import BadInput, Conflict, Unauthenticated
from kernel.money import NANO

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON = NOW + timedelta(seconds=1)


@pytest.mark.feature("C1")
def test_a_token_is_good_until_its_last_moment() -> None:
    core.check_token(SOON, None, NOW)
    with pytest.raises(Unauthenticated) as refused:
        core.check_token(NOW, None, NOW)
    assert refused.value.error_code == "join_token_expired"


def test_a_used_token_is_told_apart_from_an_expired_one() -> None:
    with pytest.raises(Conflict) as refused:
        core.check_token(SOON, NOW, NOW)
    assert refused.value.error_code == "join_token_used"


def test_tokens_are_long_and_different() -> None:
    tokens = {core.new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(token.startswith("gj_") and len(token) == 46 for token in tokens)


@pytest.mark.feature("C7")
def test_a_price_keeps_every_digit() -> None:
    assert core.price_nano("0.123456789") == 123_456_789


@pytest.mark.parametrize("text", ["-1", "1000.000000001", "x", "1e400", "NaN", "0.0000000001", ""])
def test_a_price_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        core.price_nano(text)


@pytest.mark.parametrize(
    ("name", "nano"),
    [
        ("NVIDIA H100 80GB HBM3", 2_190 * NANO // 1000),
        ("NVIDIA L40S", 790 * NANO // 1000),
        ("NVIDIA L4", 430 * NANO // 1000),
        ("Something new", NANO // 2),
    ],
)
def test_a_gpu_has_a_default_price(name: str, nano: int) -> None:
    assert default_price_nano(name, date(2026, 1, 1)) == nano
