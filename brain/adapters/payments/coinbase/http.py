"""Calls to Coinbase Business: each with a token of its own, signed for this one method and path."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from brain.payments import Away, CredentialsRefused, PaymentRefused
from kernel.clock import NS, Clock

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
TOKEN_SECONDS = 110  # two minutes are the most
ANSWER_BYTES_MAX = 1 << 20
AWAY = "Coinbase does not answer."


@dataclass(frozen=True)
class CoinbaseKey:
    """A CDP key: its id, and the private key (ES256 or Ed25519)."""

    id: str
    private: EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        return "EdDSA" if isinstance(self.private, Ed25519PrivateKey) else "ES256"


def read_key(id: str, secret: str) -> CoinbaseKey:
    """From what Coinbase hands out: PEM of a P-256 key, or 64 bytes of an Ed25519 one in base64.
    ``ValueError`` without a word of the secret."""
    try:
        if "BEGIN" in secret:
            found = load_pem_private_key(secret.replace("\\n", "\n").encode(), None)
            p256 = isinstance(found, EllipticCurvePrivateKey) and isinstance(found.curve, SECP256R1)
            if p256 or isinstance(found, Ed25519PrivateKey):
                return CoinbaseKey(id, found)  # type: ignore[arg-type]
        else:
            seed = base64.b64decode(secret, validate=True)
            if len(seed) in (32, 64):
                return CoinbaseKey(id, Ed25519PrivateKey.from_private_bytes(seed[:32]))
    except (ValueError, TypeError, binascii.Error):
        pass
    raise ValueError("must be a P-256 or Ed25519 private key, as Coinbase hands it out") from None


class CoinbaseHttp:
    """Asks one business account. Whatever goes wrong is a ``PaymentError``."""

    def __init__(
        self,
        key: CoinbaseKey,
        base_url: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key = key
        self._clock = clock
        parts = urlsplit(base_url)
        self._host, self._root = parts.netloc, parts.path.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=f"{parts.scheme}://{parts.netloc}",
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        once: str | None = None,
    ) -> dict[str, Any] | None:
        """What it answers; None: there is no such thing. ``once``: the idempotency key."""
        target = self._root + path
        headers = {"authorization": f"Bearer {self._token(method, target)}"}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = msgspec.json.encode(body)
        if once is not None:
            headers["x-idempotency-key"] = once
        try:
            answer = await self._client.request(method, target, headers=headers, content=content)
        except (httpx.HTTPError, OSError) as wrong:
            raise Away(AWAY, internal=type(wrong).__name__) from None
        return _read(answer)

    def _token(self, method: str, target: str) -> str:
        now = self._clock.now_ns() // NS
        claims = {
            "iss": "cdp",
            "sub": self._key.id,
            "nbf": now - 5,
            "exp": now + TOKEN_SECONDS,
            "uri": f"{method} {self._host}{target}",
        }
        headers = {"kid": self._key.id, "nonce": secrets.token_hex(16)}
        made = jwt.encode(claims, self._key.private, algorithm=self._key.algorithm, headers=headers)
        return str(made)


def _read(answer: httpx.Response) -> dict[str, Any] | None:
    status = answer.status_code
    if status == 404:
        return None
    if status in (401, 403):
        raise CredentialsRefused("Crypto payments are not set up.", internal=status)
    if status == 429 or status >= 500 or status in (408, 409, 425):
        raise Away(AWAY, internal=status)
    if len(answer.content) > ANSWER_BYTES_MAX:
        raise Away(AWAY, internal="too long")
    try:
        found = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Away(AWAY, internal=[status, "no JSON"]) from None
    if status >= 400:
        raise PaymentRefused("Coinbase refuses this payment.", internal=status)
    if not isinstance(found, dict):
        raise Away(AWAY, internal=[status, "another shape"])
    return found
