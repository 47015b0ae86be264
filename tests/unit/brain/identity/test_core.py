"""Pure decisions about keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.identity.core import KeyFacts, admit_key, digest_of, looks_like_key, new_secret
from kernel.errors import Forbidden, Unauthenticated
from kernel.ids import AccountId, KeyId

pytestmark = pytest.mark.feature("I3")

NOW = datetime(2027, 1, 1, tzinfo=UTC)
ACCOUNT, KEY = AccountId("acct_" + "1" * 32), KeyId("key_" + "2" * 32)


def _facts(
    *, scopes: tuple[str, ...] = ("read",), expires: int | None = None, revoked: bool = False
) -> KeyFacts:
    ends = None if expires is None else NOW + timedelta(seconds=expires)
    return KeyFacts(ACCOUNT, KEY, frozenset(scopes), ends, NOW if revoked else None)


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_is_gk_and_43_characters_and_its_digest_is_of_the_whole(chance: bytes) -> None:
    secret = new_secret(chance)
    assert len(secret.text) == 46
    assert looks_like_key(secret.text)
    assert (secret.prefix, secret.digest) == (secret.text[:11], digest_of(secret.text))


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    assert len(digest_of(text)) == 64


def test_a_good_key_is_its_accounts_principal() -> None:
    who = admit_key(_facts(expires=1), "read", NOW)
    assert (who.account_id, who.key_id, who.user_id) == (ACCOUNT, KEY, None)
    assert not who.is_admin


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        (None, Unauthenticated),
        (_facts(revoked=True), Unauthenticated),
        (_facts(expires=0), Unauthenticated),
        (_facts(scopes=("inference", "write", "admin")), Forbidden),
        (_facts(scopes=(), revoked=True), Unauthenticated),
    ],
)
def test_a_key_that_is_not_good(facts: KeyFacts | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        admit_key(facts, "read", NOW)
