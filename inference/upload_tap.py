"""The connection that an upload comes over, as its exchange turns it on and off."""

from __future__ import annotations

import asyncio
import socket

from inference.client import Client
from inference.extras import Tagged
from inference.gateway import Gateway
from inference.heads import CONTINUE
from inference.incoming import Request
from inference.tracing import trace_of
from inference.upload import UploadExchange
from kernel.errors import Unauthenticated

_OPEN = (1, 2, 3)  # states of TCP before anybody closed: established, and on the way there


class Tap:
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def left(self) -> bool:
        """The client hung up, though nobody reads what it says: the kernel knows."""
        if self._transport.is_closing():
            return True
        try:
            door = self._transport.get_extra_info("socket")
            return door.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] not in _OPEN
        except OSError:
            return True


def begin(
    gateway: Gateway, client: Client, request: Request, transport: asyncio.Transport
) -> UploadExchange | None:
    """The exchange of a form whose head came; ``None`` when it was refused."""
    route, key = request.route, request.key
    request_id = gateway.request_ids.new()
    key_now = gateway.tables.keys.get(key.digest) if key is not None else None
    if route is None or key_now is None:
        client.refuse(Unauthenticated("This API key was revoked."), request_id)
        return None
    extras, onward = request.extras, b""
    if extras is not None and (extras.parents or gateway.settings.gateway_trace_always):
        trace = trace_of(extras.parents, extras.states, request_id)
        onward = trace.onward()
        if trace.told:
            client = Tagged(client, f"\r\ntraceparent: {trace.parent}")
    if request.expects and not request.parts:
        transport.write(CONTINUE)
    now_ns, tap = gateway.now_ns(), Tap(transport)
    upload = UploadExchange(gateway, client, key_now, route, request_id, now_ns, tap)
    upload.onward = onward
    return upload


def hand_over(request: Request, upload: UploadExchange) -> None:
    """What came already, and what will come."""
    came, request.parts = request.parts, []
    request.sink = upload.take
    for part in came:
        upload.take(part)
    if request.whole:
        upload.finish()
