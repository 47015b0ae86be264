"""Where a WebSocket begins: its handshake, and the conversation that its route names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from websockets.http11 import Request as Opening
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from inference import errors
from inference.gateway import Gateway
from inference.incoming import OPENING, Request
from inference.realtime.agent import Agent
from inference.realtime.caller import Caller
from inference.realtime.dictation import Dictation
from inference.realtime.options import Options
from inference.realtime.outlet import Outlet, Talk
from inference.realtime.reading import Reading
from inference.realtime.socket import Framing, Socket
from inference.realtime.sound import Room
from kernel.errors import GanglionError, Malformed, Unavailable

QUERY_FIELDS_MAX = 32
SUBPROTOCOL = Subprotocol("realtime")  # OpenAI's
Query = dict[str, str]
_ROOMS: WeakKeyDictionary[Gateway, Room] = WeakKeyDictionary()

_QUIET = logging.getLogger("inference.realtime.websockets")
_QUIET.disabled = True  # it would log what is said


def take_over(
    gateway: Gateway, transport: asyncio.Transport, request: Request, rest: bytes
) -> None:
    """Speak WebSocket from here on, or refuse in HTTP. ``rest`` came after the request's head."""
    try:
        protocol = _handshake(gateway, request)
        begin = _talk(gateway, request)
    except GanglionError as error:
        transport.write(errors.answer_of(error, gateway.request_ids.new(), close=True))
        transport.close()
        return
    socket = Socket(gateway, transport, protocol)
    transport.set_protocol(socket)
    socket.begin(begin(socket), rest)


def _handshake(gateway: Gateway, request: Request) -> Framing:
    """The protocol, open, its answer waiting to be sent."""
    if sum(isinstance(one, Socket) for one in gateway.connections) >= (
        gateway.settings.gateway_socket_max
    ):
        raise Unavailable("Too many sessions; try again.", retry_after=5)
    protocol = Framing(
        select_subprotocol=_subprotocol,
        max_size=gateway.settings.gateway_socket_message_bytes_max,
        logger=_QUIET,
    )
    opening = getattr(request, "opening", {})
    lines = [name + b": " + opening[name] for name in OPENING if name in opening]
    head = b"\r\n".join((b"GET / HTTP/1.1", b"connection: upgrade", *lines, b"", b""))
    protocol.receive_data(head)
    opened = next(iter(protocol.events_received()), None)
    answer = protocol.accept(opened) if isinstance(opened, Opening) else None
    if answer is None or answer.status_code != 101:
        raise Malformed("This is not the opening of a WebSocket (RFC 6455, version 13).")
    protocol.send_response(answer)
    return protocol


def _subprotocol(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Never the one that is a key."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _talk(gateway: Gateway, request: Request) -> Callable[[Outlet], Talk]:
    """What the route and its query ask for. Raises ``Malformed``."""
    assert request.key is not None
    assert request.route is not None
    caller, query = Caller(gateway, request.key, _room(gateway)), _query(request.url)
    match request.route.name:
        case "realtime":
            options = _options(query)
            return lambda outlet: Agent(caller, outlet, options)
        case "speech_stream":
            return lambda outlet: Reading(caller, outlet, query)
        case _:
            return lambda outlet: Dictation(caller, outlet, query)


def _room(gateway: Gateway) -> Room:
    room = _ROOMS.get(gateway)
    if room is None:
        room = _ROOMS[gateway] = Room(gateway.settings.gateway_socket_sound_bytes_max)
    return room


def _options(query: Query) -> Options:
    return Options(
        model=query.get("model", ""),
        transcription_model=query.get("transcription_model", ""),
        speech_model=query.get("speech_model", ""),
        voice=query.get("voice") or "alloy",
    )


def _query(url: bytes) -> Query:
    text = url.partition(b"?")[2].decode("latin-1")
    try:
        return dict(parse_qsl(text, max_num_fields=QUERY_FIELDS_MAX))
    except ValueError:
        raise Malformed("The query of the address cannot be understood.") from None
