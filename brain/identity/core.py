"""Pure decisions of identity: what a key looks like, who a credential is good for."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from kernel.errors import Forbidden, Unauthenticated
from kernel.ids import AccountId, KeyId, UserId

KEY_MARK: Final = "gk_"
PREFIX_LENGTH: Final = 11
PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_LENGTH_MAX: Final = 200


class Role(StrEnum):
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API key may do. ``admin``: manage its own account, never the platform."""

    INFERENCE = "inference"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who makes this request: a user with an access token, or an API key."""

    account_id: AccountId
    user_id: UserId | None
    key_id: KeyId | None
    roles: frozenset[str]
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        return str(self.user_id or self.key_id or self.account_id)


@dataclass(frozen=True)
class Secret:
    """A fresh API key: ``text`` is shown once, the rest is kept."""

    text: str
    prefix: str
    digest: str


def new_secret(chance: bytes) -> Secret:
    """The key made of 32 bytes of chance."""
    assert len(chance) == 32, "an API key holds 256 bits"
    body = base64.urlsafe_b64encode(chance).rstrip(b"=").decode()
    text = KEY_MARK + body
    return Secret(text=text, prefix=text[:PREFIX_LENGTH], digest=digest_of(text))


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_key(text: str) -> bool:
    return text.startswith(KEY_MARK)


def looks_like_access_token(text: str) -> bool:
    return text.count(".") == 2


@dataclass(frozen=True)
class KeyFacts:
    """What decides whether a key is good now."""

    account_id: AccountId
    key_id: KeyId
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None


def admit_key(facts: KeyFacts | None, scope: str, now: datetime) -> Principal:
    """The principal behind a key, or the refusal that says what to do."""
    if facts is None:
        raise Unauthenticated("This API key is not known. Make one with POST /api/v1/keys.")
    if facts.revoked_at is not None:
        raise Unauthenticated("This API key was revoked.", code="key_revoked")
    if facts.expires_at is not None and now >= facts.expires_at:
        raise Unauthenticated("This API key has expired. Make a new one.", code="key_expired")
    if scope not in facts.scopes:
        raise Forbidden(
            f"This API key has no scope '{scope}'. Make a key that has it.", code="scope_missing"
        )
    return Principal(
        account_id=facts.account_id,
        user_id=None,
        key_id=facts.key_id,
        roles=frozenset(),
        scopes=facts.scopes,
    )


def normal_email(email: str) -> str:
    """One spelling for each address; we never send to another spelling than was given."""
    return email.strip().casefold()
