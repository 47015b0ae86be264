"""Requests of one connection whose heads are alike: read once, then only judged anew."""

from __future__ import annotations

import asyncio

from inference.alike import Alike, sample
from inference.bodies import LONG_BYTES
from inference.gateway import Gateway
from inference.incoming import Request
from inference.routes import INFERENCE
from kernel.errors import GanglionError


class Repeats:
    """What the connection sent last that may come again. One that sends a single request keeps
    nothing; one whose heads differ each time is looked at ever more seldom."""

    __slots__ = ("_alike", "_request", "_seen")

    def __init__(self) -> None:
        self._alike: Alike | None = None
        self._request = Request()
        self._seen = 0

    def take(
        self, received: bytes, gateway: Gateway, transport: asyncio.BaseTransport | None
    ) -> Request | None:
        """The request, judged, when its head is like the last one's; else it is to be read."""
        alike = self._alike
        if alike is None:
            return None
        body = alike.body(received)
        if body is None or len(body) > gateway.body_bytes_max:
            return None
        request = self._request
        request.parts.append(body)
        try:
            request.judge(gateway, transport)
            if len(body) > LONG_BYTES:
                request.counted = gateway.bodies.grow(0, len(body))
        except GanglionError as error:
            request.error = error
            self._alike, self._request = None, Request()
        return request

    def learn(self, received: bytes, request: Request) -> None:
        """A request that came whole in ``received`` was read."""
        seen = self._seen = self._seen + 1
        if seen < 2 or seen & (seen - 1):
            return
        if request.usual and request.route is not None and request.route.kind is INFERENCE:
            self._alike, self._request = sample(received), request
