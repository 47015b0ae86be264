"""One WebSocket: the protocol of the package ``websockets``, without its I/O, on our transport.

Its limits: the size of a message, messages a second (more are left unread for a moment), silence,
and the time in all. Nothing is compressed: a small message could be a very large one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from inference.gateway import SWEEP_SECONDS, Gateway
from inference.realtime.outlet import GONE_AWAY, TOO_LONG, Event, Talk
from kernel.clock import NS
from kernel.errors import TooLarge

CLOSE_NS = 5 * NS  # for the client's own close
GOING = "This gateway is shutting down; connect again."
_encode = msgspec.json.Encoder().encode


class Framing(ServerProtocol):
    """The package's own, but for a message that is too long: its end is told before it comes."""

    too_large: Callable[[], None]

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        if code == CloseCode.MESSAGE_TOO_BIG and self.state is State.OPEN:
            self.too_large()
        super().fail(code, reason)


class Socket(asyncio.Protocol):
    """``begin`` it with what follows; it ends itself."""

    deadline_ns = 0  # it looks after its own

    def __init__(self, gateway: Gateway, transport: asyncio.Transport, protocol: Framing) -> None:
        settings = gateway.settings
        self._gateway = gateway
        self._transport: asyncio.Transport | None = transport
        self._protocol = protocol
        protocol.too_large = self._too_large
        self._bytes_max = settings.gateway_socket_message_bytes_max
        self._cut_off = False  # in the middle of a message: the rest of it is still on its way
        self._talk: Talk | None = None
        self._parts: list[bytes] = []
        self._binary = False
        self._began_ns = self._heard_ns = self._asked_ns = self._pinged_ns = gateway.now_ns()
        self._closing_ns = 0
        self._paused_ns = 0
        self._shutting = False
        self._messages = 0
        self._messages_max = max(
            round(settings.gateway_socket_messages_per_second_max * SWEEP_SECONDS), 1
        )
        self._resting = False  # nothing is read: too much came
        self._ping_ns = round(settings.gateway_socket_ping_seconds * NS)
        self._idle_ns = round(settings.gateway_socket_idle_seconds_max * NS)
        self._total_ns = round(settings.gateway_socket_total_seconds_max * NS)

    def begin(self, talk: Talk, rest: bytes) -> None:
        """The handshake's answer stands in the protocol; ``rest`` came after the request."""
        self._talk = talk
        self._gateway.connections.add(self)
        self._flush()
        talk.opened()
        if rest:
            self.data_received(rest)

    # What the event loop tells.

    def data_received(self, received: bytes) -> None:
        self._heard_ns = self._gateway.tick_ns
        protocol = self._protocol
        protocol.receive_data(received)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.connections.discard(self)
        self._transport = None
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.gone()

    def pause_writing(self) -> None:
        self._paused_ns = self._gateway.tick_ns
        self._read()
        if self._talk is not None:
            self._talk.paused()

    def resume_writing(self) -> None:
        self._paused_ns = 0
        self._heard_ns = self._gateway.tick_ns
        self._read()
        if self._talk is not None:
            self._talk.resumed()

    # What the conversation asks for.

    def send(self, event: Event) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(_encode(event))
            self._flush()

    def send_bytes(self, content: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(content)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

    # The slow beat, and the end.

    def watch(self, now_ns: int) -> None:
        transport, talk = self._transport, self._talk
        if transport is None or talk is None:
            return
        self._messages = 0
        if self._resting:
            self._resting = False
            self._read()
        if self._closing_ns:
            if now_ns - self._closing_ns > CLOSE_NS:
                transport.abort()
            return
        silent_ns = now_ns - self._heard_ns
        if self._paused_ns and now_ns - self._paused_ns > self._gateway.idle_ns:
            transport.abort()  # it will not read a close either
        elif silent_ns > 2 * self._ping_ns and not self._paused_ns:
            transport.abort()
        elif now_ns - self._began_ns > self._total_ns:
            self.close(TOO_LONG, "This session has lasted as long as one may. Open another.")
        elif now_ns - self._asked_ns > self._idle_ns and not talk.busy:
            self.close(TOO_LONG, "Nothing was sent for too long. Open another session.")
        elif self._shutting and not talk.busy and not talk.hearing:
            self.close(GONE_AWAY, GOING)
        else:
            if silent_ns > self._ping_ns and now_ns - self._pinged_ns > self._ping_ns:
                self._pinged_ns = now_ns
                self._protocol.send_ping(b"")
                self._flush()
            talk.watch(now_ns)

    def shut(self) -> None:
        """Close now, or after what the client says and waits for; when told again: now."""
        if self._shutting:
            self.close(GONE_AWAY, GOING)
        self._shutting = True
        self.watch(self._gateway.now_ns())

    # Helpers, in the order used.

    def _frame(self, frame: Frame) -> None:
        self._messages += 1
        if self._messages >= self._messages_max and not self._resting:
            self._resting = True
            self._read()
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._binary = frame.opcode is Opcode.BINARY
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        content, self._parts = b"".join(self._parts), []
        self._asked_ns = self._heard_ns
        if self._talk is None or self._protocol.state is not State.OPEN:
            return
        if self._binary:
            self._talk.binary(content)
        else:
            self._talk.text(content)

    def _too_large(self) -> None:
        self._cut_off = True
        if self._talk is not None:
            most = f"At most {self._bytes_max} bytes a message"
            self._talk.refused(TooLarge(f"{most}: connect again, and send sound in pieces."))

    def _read(self) -> None:
        """Read from the client or not."""
        if self._transport is None:
            return
        if self._resting or self._paused_ns:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _flush(self) -> None:
        """Write what the protocol has to say, answers to pings and closes included."""
        transport = self._transport
        if transport is None:
            return
        for content in self._protocol.data_to_send():
            if content:
                transport.write(content)
            elif self._cut_off and transport.can_write_eof():
                transport.write_eof()  # to close now would reset: the client would not read why
            else:  # it says so by an empty piece
                transport.close()
        if not self._closing_ns and self._protocol.state is not State.OPEN:
            self._closing_ns = self._gateway.now_ns()
            if self._talk is not None:
                self._talk.gone()
