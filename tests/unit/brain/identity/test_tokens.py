"""Access tokens: only our own, only in their time."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.identity import Passwords, Tokens
from kernel.clock import ManualClock
from kernel.errors import Unauthenticated
from kernel.ids import UserId

SECRET = "s" * 64
USER = UserId("user_" + "1" * 32)


def _tokens(clock: ManualClock | None = None) -> Tokens:
    return Tokens(SECRET, clock or ManualClock(), lasts_seconds=60)


def test_a_token_names_its_user_until_its_end() -> None:
    clock = ManualClock()
    tokens = _tokens(clock)
    token = tokens.issue(USER)
    clock.advance(59)
    assert tokens.read(token.text) == USER
    clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.read(token.text)


@given(st.text(max_size=300))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        _tokens().read(text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_passes(place: int, change: int) -> None:
    tokens = _tokens()
    raw = bytearray(tokens.issue(USER).text.encode())
    # The last character carries unused bits, so two spellings of one signature are fine.
    raw[place % (len(raw) - 1)] ^= change
    with pytest.raises(Unauthenticated):
        tokens.read(raw.decode("latin-1"))


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_no_other_algorithm_passes(algorithm: str) -> None:
    claims = jwt.decode(_tokens().issue(USER).text, options={"verify_signature": False})
    forged = jwt.encode(claims, None if algorithm == "none" else SECRET, algorithm=algorithm)
    with pytest.raises(Unauthenticated):
        _tokens().read(forged)


@pytest.mark.feature("I1")
async def test_passwords_are_argon2id_and_nobody_has_none() -> None:
    passwords = Passwords(time_cost=1, memory_kib=8)
    stored = await passwords.hash("a password")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "a password")
    assert not await passwords.verify(stored, "another")
    assert not await passwords.verify(None, "the password of nobody")
    assert not await passwords.verify("garbage", "a password")
    passwords.close()
