"""The agents' protocol over HTTP: raw bodies, msgspec, MACs. No pydantic on the beat's path.

Who calls is said by the session and proved by the MAC over method, path, number and body;
nothing in a body is believed about that.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from brain.fleet import given, keys, logs
from brain.fleet.front import AgentFront
from brain.fleet.session import Session
from brain.fleet.telemetry import Telemetry
from kernel.errors import BadInput, Malformed, TooLarge, Unauthenticated
from kernel.ids import NodeId
from kernel.wire import decode, encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    VERSION,
    LogBatch,
    SecretsRequest,
    SessionRequest,
    beat_decoder,
    mac,
)
from kernel.wire.keys import LeaveRequest, RotateRequest

SESSION_BYTES_MAX = 4 << 10
BEAT_BYTES_MAX = 256 << 10
LOG_BYTES_MAX = 1 << 20
SECRETS_BYTES_MAX = 1 << 10
SESSION_ID_CHARS_MAX = 1200
NUMBER_MAX = 2**53
REFUSED = "refused_at_the_door"  # in the request's state


@dataclass(frozen=True, slots=True)
class SignedCall:
    """What a call's signature covers beside its body, and the signature."""

    method: str
    path: str  # with its query
    session_id: str
    number: str
    mac: str


def get_front(request: Request) -> AgentFront:
    """The front of this process; wiring puts it on the app."""
    front: AgentFront = request.app.state.agents
    return front


def get_telemetry(request: Request) -> Telemetry:
    """FastAPI dependency: where the nodes' last beats lie."""
    return get_front(request).telemetry


async def session(request: Request) -> Response:
    """POST /agent/v1/session"""
    body = await bounded_body(request, SESSION_BYTES_MAX)
    answer = await get_front(request).open_session(decode(body, SessionRequest))
    return _json(answer)


async def beat(request: Request) -> Response:
    """POST /agent/v1/beat, where the door (``fleet.door``) did not answer it."""
    refused: Exception | None = request.scope.get("state", {}).get(REFUSED)
    if refused is not None:
        raise refused
    body = await bounded_body(request, BEAT_BYTES_MAX)
    answer = await take_beat(get_front(request), _signed_call(request), body)
    return Response(answer, media_type="application/json")


async def take_beat(front: AgentFront, call: SignedCall, body: bytes) -> bytes:
    """The answer to a beat, as JSON. Raises what the caller is refused for."""
    caller, number = _check_mac(front, call, body)
    try:
        message = beat_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"Not a valid Beat message: {error}.") from None
    if message.v != VERSION:
        raise BadInput(f"This brain speaks agent protocol {VERSION}; update the agent.", param="v")
    return encode(await front.beat(caller, number, message, body))


async def wake(request: Request) -> Response:
    """GET /agent/v1/wake?generation=N, where the door did not answer it."""
    refused: Exception | None = request.scope.get("state", {}).get(REFUSED)
    if refused is not None:
        raise refused
    await take_wake(get_front(request), _signed_call(request))
    return Response(status_code=204)


async def take_wake(front: AgentFront, call: SignedCall) -> None:
    """Returns when the node has another generation, or after a while. Raises what the caller is
    refused for."""
    caller, number = _check_mac(front, call, b"")
    text = parse_qs(call.path.partition("?")[2]).get("generation", [""])[-1]
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        raise BadInput("generation must be a whole number.", param="generation")
    own = await front.admit(caller, number)
    await front.wait(own, int(text))


async def log_lines(request: Request) -> Response:
    """POST /agent/v1/logs"""
    front = get_front(request)
    body = await bounded_body(request, LOG_BYTES_MAX)
    caller, number = check_mac(request, front, body)
    batch = decode(body, LogBatch)
    await front.admit(caller, number)
    await logs.add_lines(front.ctx, front.vault, caller.node_id, batch, front.terms.log_terms)
    return Response(status_code=204)


async def secrets(request: Request) -> Response:
    """POST /agent/v1/secrets"""
    front = get_front(request)
    body = await bounded_body(request, SECRETS_BYTES_MAX)
    caller, number = check_mac(request, front, body)
    asked = decode(body, SecretsRequest)
    await front.admit(caller, number)
    return _json(await given.give_secrets(front.ctx, front.vault, caller.node_id, asked))


async def rotate(request: Request) -> Response:
    """POST /agent/v1/rotate"""
    front = get_front(request)
    body = await bounded_body(request, SESSION_BYTES_MAX)
    answer = await keys.rotate(front.ctx, decode(body, RotateRequest))
    await front.look()
    return _json(answer)


async def leave(request: Request) -> Response:
    """POST /agent/v1/leave"""
    front = get_front(request)
    body = await bounded_body(request, SESSION_BYTES_MAX)
    caller, number = check_mac(request, front, body)
    asked = decode(body, LeaveRequest)
    await front.admit(caller, number)
    answer = await keys.leave(front.ctx, front.watcher, caller.node_id, asked)
    await front.look()
    return _json(answer)


async def signed_by_node(request: Request, bytes_max: int) -> tuple[NodeId, bytes]:
    """The node that made a call, and its body: for other rooms' calls of agents."""
    front = get_front(request)
    body = await bounded_body(request, bytes_max)
    caller, number = check_mac(request, front, body)
    await front.admit(caller, number)
    return caller.node_id, body


async def bounded_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, or ``TooLarge`` as soon as it is."""
    refused = TooLarge(f"The body is larger than {bytes_max >> 10} KiB, the most taken here.")
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:20]) > bytes_max:
        raise refused
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise refused
    return body


def check_mac(request: Request, front: AgentFront, body: bytes) -> tuple[Session, int]:
    """Who calls, and the call's number. Raises ``Unauthenticated`` or ``Malformed``."""
    return _check_mac(front, _signed_call(request), body)


def _signed_call(request: Request) -> SignedCall:
    headers = request.headers
    path, query = request.scope["path"], request.scope["query_string"]
    if query:
        path = f"{path}?{query.decode('latin-1')}"
    return SignedCall(
        request.method,
        path,
        headers.get(SESSION_HEADER, ""),
        headers.get(SEQ_HEADER, ""),
        headers.get(MAC_HEADER, ""),
    )


def _check_mac(front: AgentFront, call: SignedCall, body: bytes) -> tuple[Session, int]:
    session_id, number_text = call.session_id, call.number
    if not session_id or len(session_id) > SESSION_ID_CHARS_MAX:
        raise Unauthenticated(
            f"Send {SESSION_HEADER}, {SEQ_HEADER} and {MAC_HEADER}.", code="unsigned"
        )
    if not number_text.isascii() or not number_text.isdigit() or len(number_text) > 16:
        raise Malformed(f"{SEQ_HEADER} must be a whole number.")
    number = int(number_text)
    if not 1 <= number <= NUMBER_MAX:
        raise Malformed(f"{SEQ_HEADER} must be between 1 and 2**53.")
    caller = front.session(session_id)
    wanted = mac(caller.key, call.method, call.path, number, body)
    if not hmac.compare_digest(wanted.encode(), call.mac.encode("latin-1", "replace")):
        raise Unauthenticated(
            "The signature of this call is wrong; open a new session.", code="bad_mac"
        )
    return caller, number


def _json(message: object) -> Response:
    return Response(encode(message), media_type="application/json")
