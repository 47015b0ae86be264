"""Calls to one product of MTN MoMo: its token, kept until shortly before it ends, and its answers.

No word of an answer but its ``code`` gets into an error, and no key or number into a log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import msgspec

from kernel.clock import NS, Clock

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
ANSWER_BYTES_MAX = 1 << 20
TOKEN_EARLY_SECONDS = 60
TOKEN_SECONDS_MAX = 3600
# Nothing was sent, so nothing can have been done.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Unsent(Exception):
    """It was not reached, or turned us away at the door: nothing was done."""


class Lost(Exception):
    """No whole answer: it may have been done."""


class KeyRefused(Unsent):
    """It does not take our keys."""


@dataclass(frozen=True)
class MomoAccount:
    """One product of one partner: each has keys of its own."""

    product: str
    base_url: str
    environment: str
    subscription_key: str = field(repr=False)
    user: str = field(repr=False)
    user_key: str = field(repr=False)


@dataclass(frozen=True)
class MomoAnswer:
    """``body`` is empty where the answer is no object of JSON."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """Its own word for what is wrong, in capitals; "" where it has none."""
        return code_of(self.body)


def code_of(value: object) -> str:
    """A reason as MoMo writes it: a word, or an object with one."""
    found = value.get("code") if isinstance(value, dict) else value
    text = found if isinstance(found, str) else ""
    return text[:60] if text.replace("_", "").isalnum() and text.upper() == text else ""


def reference_of(id: str) -> str:
    """The transaction's id there: a UUID of version 4, as it insists, and always the same one for
    one id of ours, so that a repeat is known as one."""
    digest = hashlib.sha256(f"momo {id}".encode()).digest()
    return str(UUID(bytes=digest[:16], version=4))


class MomoHttp:
    """Asks one product. Every call is bounded; a token that is refused is renewed once."""

    def __init__(
        self,
        account: MomoAccount,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.account = account
        self._clock = clock
        self._token = ""
        self._token_until_ns = 0
        self._minting = asyncio.Lock()
        self._client = httpx.AsyncClient(
            base_url=account.base_url,
            headers={"ocp-apim-subscription-key": account.subscription_key},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"MomoHttp({self.account.product})"

    async def close(self) -> None:
        await self._client.aclose()

    async def post(
        self, path: str, body: Mapping[str, object], reference: str, callback: str | None = None
    ) -> MomoAnswer:
        """Ask for something under a reference of ours."""
        headers = {"x-reference-id": reference}
        if callback:  # an empty one is an error there
            headers["x-callback-url"] = callback
        return await self._call("POST", path, headers, msgspec.json.encode(body))

    async def get(self, path: str) -> MomoAnswer:
        return await self._call("GET", path, {}, None)

    async def _call(
        self, method: str, path: str, headers: dict[str, str], content: bytes | None
    ) -> MomoAnswer:
        target = f"/{self.account.product}/v1_0/{path}"
        answer = await self._with_token(method, target, headers, content, await self._mint())
        if answer.status == 401:
            fresh = await self._mint(again=True)
            answer = await self._with_token(method, target, headers, content, fresh)
        if answer.status in (401, 403):
            raise KeyRefused(f"MoMo refuses our keys or address ({answer.status}).")
        if answer.status == 429:
            raise Unsent("MoMo takes no more calls for a while.")
        return answer

    async def _with_token(
        self, method: str, target: str, headers: dict[str, str], content: bytes | None, token: str
    ) -> MomoAnswer:
        more = {
            "authorization": f"Bearer {token}",
            "x-target-environment": self.account.environment,
        }
        if content is not None:
            more["content-type"] = "application/json"
        return await self._send(method, target, headers | more, content)

    async def _mint(self, *, again: bool = False) -> str:
        """The token that is kept, or a new one; one caller mints for all."""
        stale = self._token
        async with self._minting:
            fresh = self._clock.now_ns() < self._token_until_ns
            if self._token and fresh and not (again and self._token == stale):
                return self._token
            packed = base64.b64encode(f"{self.account.user}:{self.account.user_key}".encode())
            headers = {"authorization": f"Basic {packed.decode()}"}
            try:
                answer = await self._send("POST", f"/{self.account.product}/token/", headers, b"")
            except Lost as lost:  # a token that nobody has is no harm
                raise Unsent(str(lost)) from None
            token = answer.body.get("access_token")
            if answer.status in (400, 401, 403):
                raise KeyRefused(f"MoMo gives no token for our keys ({answer.status}).")
            if answer.status != 200 or not isinstance(token, str) or not token:
                raise Unsent(f"MoMo gave no token ({answer.status}).")
            lasts = answer.body.get("expires_in")
            seconds = lasts if isinstance(lasts, int) else TOKEN_SECONDS_MAX
            keep = max(0, min(seconds, TOKEN_SECONDS_MAX) - TOKEN_EARLY_SECONDS)
            self._token, self._token_until_ns = token, self._clock.now_ns() + keep * NS
            return token

    async def _send(
        self, method: str, target: str, headers: dict[str, str], content: bytes | None
    ) -> MomoAnswer:
        try:
            answer = await self._client.request(method, target, headers=headers, content=content)
        except _UNSENT as wrong:
            raise Unsent(f"MoMo could not be reached ({type(wrong).__name__}).") from None
        except (httpx.HTTPError, OSError) as wrong:
            raise Lost(f"MoMo gave no whole answer ({type(wrong).__name__}).") from None
        if len(answer.content) > ANSWER_BYTES_MAX:
            raise Lost("MoMo answered with too much.")
        try:
            found = msgspec.json.decode(answer.content) if answer.content else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = {}
        return MomoAnswer(answer.status_code, found if isinstance(found, dict) else {})
