"""Connects out to a gateway and proves whose link it is. Through HTTPS_PROXY where that is set."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from kernel.errors import GanglionError, Unavailable
from kernel.wire import links as wire

DIAL_SECONDS_MAX = 10.0
ANSWER_SECONDS_MAX = 20.0  # a gateway that does not know the lease yet waits for word of it
PROXY_HEAD_BYTES_MAX = 8192
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class LinkRefused(Unavailable):
    """The gateway does not take this link, or cannot be reached; later it may."""

    code = "link_refused"


class Dialler:
    """Opens links. Its TLS context, of the host's authorities, is made when first needed."""

    def __init__(self, context: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._make_context = context
        self._context: ssl.SSLContext | None = None

    async def open(
        self, url: str, link: wire.LinkRequest, key: bytes
    ) -> tuple[asyncio.Transport, bytes]:
        """A proved link, its reading paused, and what the gateway said over it already.

        Raises ``LinkRefused``. The transport's protocol is to be replaced.
        """
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(DIAL_SECONDS_MAX):
                transport, greeting = await self._connect(urlsplit(url))
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                transport.write(wire.request_head(link, key, urlsplit(url).netloc))
                head, rest = await greeting.answer
            wire.check_answer(head, link, key)
            return transport, rest
        except (OSError, TimeoutError, GanglionError, ValueError) as error:
            if transport is not None:
                transport.abort()
            reason = error.detail if isinstance(error, GanglionError) else repr(error)
            raise LinkRefused("The gateway does not take this link.", internal=reason) from None
        except asyncio.CancelledError:
            if transport is not None:
                transport.abort()
            raise

    async def _connect(self, url: SplitResult) -> tuple[asyncio.Transport, Greeting]:
        loop = asyncio.get_running_loop()
        host, secure = url.hostname or "", url.scheme == "https"
        port = url.port or (443 if secure else 80)
        proxy = _proxy_for(host) if secure else None
        if proxy is not None:
            return await self._through(proxy, host, port)
        transport, greeting = await loop.create_connection(
            lambda: Greeting(loop), host, port, ssl=self._tls() if secure else None
        )
        _keep_alive(transport)
        return transport, greeting

    async def _through(
        self, proxy: SplitResult, host: str, port: int
    ) -> tuple[asyncio.Transport, Greeting]:
        """CONNECT at the proxy, then TLS with the gateway itself."""
        loop = asyncio.get_running_loop()
        plain, door = await loop.create_connection(
            lambda: Greeting(loop), proxy.hostname or "", proxy.port or 8080
        )
        _keep_alive(plain)
        try:
            name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            login = ""
            if proxy.username:
                words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
                login = f"Proxy-Authorization: Basic {b64encode(words.encode()).decode()}\r\n"
            plain.write(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{login}\r\n".encode())
            head, rest = await door.answer
            if head.split(b" ", 2)[1:2] != [b"200"] or rest:
                raise LinkRefused("The proxy refused the way to the gateway.")
            greeting = Greeting(loop)
            plain.resume_reading()
            secure = await loop.start_tls(plain, greeting, self._tls(), server_hostname=host)
        except BaseException:
            plain.abort()
            raise
        transport = cast(asyncio.Transport, secure)
        greeting.connection_made(transport)
        return transport, greeting

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._make_context()
        return self._context


class Greeting(asyncio.Protocol):
    """Takes one head from the other side, and stops reading there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, received: bytes) -> None:
        self._received += received
        head, end, rest = self._received.partition(wire.HEAD_END)
        if end and not self.answer.done():
            if self._transport is not None:
                self._transport.pause_reading()
            self.answer.set_result((head, rest))
        elif len(self._received) > PROXY_HEAD_BYTES_MAX:
            self._fail("What answers is no gateway: its head is too long.")
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("The gateway closed the connection before it answered.")

    def _fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(LinkRefused(reason))
            self.answer.exception()  # told to whoever waits, and to nobody else


def _proxy_for(host: str) -> SplitResult | None:
    """The proxy of the environment for TLS connections to this host."""
    found = getproxies().get("https", "")
    if not found or proxy_bypass(host):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _keep_alive(transport: asyncio.Transport) -> None:
    """A gateway that vanished is found by the kernel, on idle links too."""
    door = transport.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in KEEPALIVE:
            door.setsockopt(socket.IPPROTO_TCP, option, seconds)
