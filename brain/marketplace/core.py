"""Pure decisions of the marketplace: the shape of join tokens and what makes one good."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from kernel.errors import BadInput, Conflict, Unauthenticated
from kernel.money import NANO, Money
from kernel.wire.agent import VERSION, EnrollRequest

TOKEN_PREFIX = "gj_"  # noqa: S105 - the public prefix, not a secret
TOKEN_LASTS = timedelta(minutes=30)
PRICE_NANO_MAX = 1_000 * NANO
OPEN_TOKENS_MAX = 20


def new_token() -> str:
    """A fresh join token: 32 bytes of the system's chance."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def check_token(expires_at: datetime, used_at: datetime | None, now: datetime) -> None:
    """Raises what the caller should be told; returns when the token is good."""
    if used_at is not None:
        raise Conflict(
            "This join token was used already; each is for one node. Make a new one.",
            code="join_token_used",
        )
    if now >= expires_at:
        raise Unauthenticated(
            "This join token has expired; it lasts 30 minutes. Make a new one.",
            code="join_token_expired",
        )


def check_enrolment(request: EnrollRequest) -> None:
    """What the message's types cannot say."""
    if request.v != VERSION:
        raise BadInput(f"This brain speaks agent protocol {VERSION}; update the agent.", param="v")
    try:
        bytes.fromhex(request.public_key)
    except ValueError:
        raise BadInput(
            "public_key must be the 64 hex digits of an Ed25519 public key.", param="public_key"
        ) from None
    uuids = [gpu.uuid for gpu in request.gpus]
    if len(set(uuids)) != len(uuids):
        raise BadInput("A GPU is named twice in gpus.", param="gpus")


def price_nano(text: str) -> int:
    """Dollars per GPU-hour as a decimal text -> nano-dollars."""
    nano = Money.usd(text).nano
    if not 0 <= nano <= PRICE_NANO_MAX:
        raise BadInput(
            "price_usd_per_gpu_hour must be between 0 and 1000.", param="price_usd_per_gpu_hour"
        )
    return nano
