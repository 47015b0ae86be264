"""The agent's one way out: signed calls to the brain. It opens no inbound port.

A session is signed by the node's Ed25519 key and lasts about an hour; every call carries the
session's HMAC and a rising number. A call refused with 401 gets a new session once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeVar

import httpx
import msgspec

from kernel.clock import NS
from kernel.errors import Forbidden, GanglionError, Unauthenticated, Unavailable
from kernel.hosts import is_local
from kernel.wire import decode, encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    BeatAnswer,
    EnrollAnswer,
    EnrollRequest,
    LogBatch,
    SecretsAnswer,
    SecretsRequest,
    SessionAnswer,
    SessionRequest,
    mac,
    session_input,
)
from kernel.wire.keys import LeaveAnswer, LeaveRequest, RotateAnswer, RotateRequest, rotate_input
from kernel.wire.minutes import MinuteAnswer, MinuteBatch
from node_agent.identity import Identity, NodeKey

ANSWER_BYTES_MAX = 8 << 20
CALL_SECONDS_MAX = 10.0
WAKE_SECONDS_MAX = 35.0
REPLAYS_MAX = 3
SESSION_RENEW_SHARE = 0.8
T = TypeVar("T")


class BrainAway(Unavailable):
    """The brain does not answer, or says that it cannot now."""

    code = "brain_away"


class BrainRefused(GanglionError):
    """The brain understood the call and refused it; repeating it changes nothing."""

    status, code, title = 400, "brain_refused", "The brain refused the call"


class Brain(Protocol):
    """The calls of an enrolled agent. All raise ``BrainAway``, ``BrainRefused`` or
    ``Unauthenticated``; all may be repeated."""

    async def beat(self, beat: Beat) -> BeatAnswer: ...
    async def wake(self, generation: int) -> None: ...
    async def ship(self, batch: LogBatch) -> None: ...
    async def secrets(self, request: SecretsRequest) -> SecretsAnswer: ...


@dataclass(frozen=True)
class _Session:
    session_id: str
    key: bytes
    renew_ns: int


def brain_client(brain_url: str) -> httpx.AsyncClient:
    """A client with limits; proxies of the environment are not used for a brain on this host."""
    return httpx.AsyncClient(
        base_url=brain_url.rstrip("/"),
        timeout=httpx.Timeout(CALL_SECONDS_MAX, connect=5.0),
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
        trust_env=not is_local(brain_url),
        verify=brain_url.startswith("https:"),  # else the list of authorities is only memory
        follow_redirects=False,
    )


async def enroll(client: httpx.AsyncClient, request: EnrollRequest) -> EnrollAnswer:
    """Turn the join token into a node; the brain answers the same key the same again."""
    content = await _send(client, "POST", "/agent/v1/enroll", encode(request), {})
    return decode(content, EnrollAnswer)


class BrainLink:
    """A session with the brain, and the signed calls over it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        identity: Identity,
        key: NodeKey,
        host_boot_id: str,
        agent_version: str,
        boot_ns: Callable[[], int],
        spare: NodeKey | None = None,
        on_spare: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._spare, self._on_spare = spare, on_spare
        self._identity = identity
        self._key = key
        self._host_boot_id = host_boot_id
        self._agent_version = agent_version
        self._boot_ns = boot_ns
        self._start_id = secrets.token_hex(16)
        self._session: _Session | None = None
        self._seq = 0

    async def beat(self, beat: Beat) -> BeatAnswer:
        content = await self._call("POST", "/agent/v1/beat", encode(beat))
        return decode(content, BeatAnswer)

    async def wake(self, generation: int) -> None:
        """Returns when the node's generation is newer, or after the brain's long poll."""
        path = f"/agent/v1/wake?generation={generation}"
        await self._call("GET", path, b"", seconds=WAKE_SECONDS_MAX)

    async def ship(self, batch: LogBatch) -> None:
        await self._call("POST", "/agent/v1/logs", encode(batch))

    async def secrets(self, request: SecretsRequest) -> SecretsAnswer:
        """The secrets of one lease's launch; the caller keeps them in memory alone."""
        content = await self._call("POST", "/agent/v1/secrets", encode(request))
        return decode(content, SecretsAnswer)

    async def minutes(self, batch: MinuteBatch) -> MinuteAnswer:
        """Hand over sealed records; may be repeated."""
        content = await self._call("POST", "/agent/v1/minutes", encode(batch))
        return decode(content, MinuteAnswer)

    async def rotate(self, new: NodeKey) -> None:
        """Give the node this key. The session of the old one is over; may be repeated."""
        if new.public_hex == self._key.public_hex:
            return
        node_id = self._identity.node_id
        text = rotate_input(node_id, new.public_hex)
        request = RotateRequest(
            node_id=node_id,
            public_key=new.public_hex,
            signature=self._key.sign(text).hex(),
            proof=new.sign(text).hex(),
        )
        content = await _send(self._client, "POST", "/agent/v1/rotate", encode(request), {})
        decode(content, RotateAnswer)
        self._take_key(new)

    async def leave(self, reason: str) -> LeaveAnswer:
        """Revoke this node: its key opens nothing any more."""
        content = await self._call("POST", "/agent/v1/leave", encode(LeaveRequest(reason)))
        return decode(content, LeaveAnswer)

    def sign(self, message: bytes) -> bytes:
        """A signature by the key that the node has now."""
        return self._key.sign(message)

    def _take_key(self, key: NodeKey) -> None:
        """What the old key opened is over: a new start, with numbers of its own."""
        self._key, self._spare, self._session = key, None, None
        self._start_id, self._seq = secrets.token_hex(16), 0

    async def _call(
        self, method: str, path: str, body: bytes, *, seconds: float = CALL_SECONDS_MAX
    ) -> bytes:
        renewed = False
        for _ in range(REPLAYS_MAX):
            session = await self._open_session()
            try:
                return await self._signed(session, method, path, body, seconds)
            except Unauthenticated:
                if self._session is session:
                    self._session = None
                if renewed:
                    raise
                renewed = True
            except BrainRefused as refusal:
                # Two calls can overtake each other on their way; a new number mends that.
                if refusal.error_code != "replayed":
                    raise
        raise BrainAway("The brain calls our numbers old again and again.")

    async def _signed(
        self, session: _Session, method: str, path: str, body: bytes, seconds: float
    ) -> bytes:
        self._seq += 1
        headers = {
            SESSION_HEADER: session.session_id,
            SEQ_HEADER: str(self._seq),
            MAC_HEADER: mac(session.key, method, path, self._seq, body),
        }
        return await _send(self._client, method, path, body, headers, seconds=seconds)

    async def _open_session(self) -> _Session:
        if self._session is not None and self._boot_ns() < self._session.renew_ns:
            return self._session
        try:
            return await self._new_session()
        except Unauthenticated as refused:
            spare = self._spare
            if spare is None or refused.error_code != "node_unknown":
                raise
        # The brain may have taken the new key of a rotation whose answer never came.
        self._take_key(spare)
        session = await self._new_session()
        self._on_spare()
        return session

    async def _new_session(self) -> _Session:
        began_ns = self._boot_ns()
        request = SessionRequest(
            node_id=self._identity.node_id,
            host_boot_id=self._host_boot_id,
            agent_start_id=self._start_id,
            nonce=secrets.token_hex(16),
            signature="0" * 128,
            agent_version=self._agent_version,
        )
        signature = self._key.sign(session_input(request)).hex()
        request = msgspec.structs.replace(request, signature=signature)
        content = await _send(self._client, "POST", "/agent/v1/session", encode(request), {})
        answer = decode(content, SessionAnswer)
        if answer.installation_id != self._identity.installation_id:
            raise Forbidden(
                "The brain at this address belongs to another installation than the one this"
                " node joined. Use another --home, or the address of the right brain."
            )
        lasts_ns = int(answer.expires_in_seconds * SESSION_RENEW_SHARE * NS)
        self._session = _Session(
            answer.session_id, bytes.fromhex(answer.session_key), began_ns + lasts_ns
        )
        return self._session


async def _send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    *,
    seconds: float = CALL_SECONDS_MAX,
) -> bytes:
    """One call; its answer's body, of bounded size."""
    content = bytearray()
    sent = {**headers, "Content-Type": "application/json"} if body else headers
    timeout = httpx.Timeout(seconds, connect=5.0)
    try:
        async with client.stream(
            method, path, content=body, headers=sent, timeout=timeout
        ) as answer:
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    raise BrainAway("The brain's answer is larger than an answer can be.")
            status = answer.status_code
    except httpx.HTTPError as error:
        raise BrainAway(
            f"The brain at {client.base_url} does not answer.", internal=repr(error)
        ) from None
    if status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
        return bytes(content)
    raise _failure(status, bytes(content))


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


def _failure(status: int, content: bytes) -> GanglionError:
    try:
        told = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        told = _Problem()
    detail = told.detail or f"The brain answered with status {status}."
    code = told.code or None
    if status == HTTPStatus.UNAUTHORIZED:
        return Unauthenticated(detail, code=code)
    if status == HTTPStatus.FORBIDDEN:
        return Forbidden(detail, code=code)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return BrainAway(detail, code=code)
    return BrainRefused(detail, code=code, internal=status)
