"""/v1/realtime: vLLM's realtime transcription over a WebSocket.

    client                                   worker
                                             session.created
    session.update {model}
    input_audio_buffer.append {audio}  ...   (base64 of PCM16, 16 kHz, one channel)
    input_audio_buffer.commit                begins to transcribe what came and what comes
                                             transcription.delta {delta} ...
    input_audio_buffer.commit {final: true}  transcription.done {text, usage}

No audio is kept: a word is said for each ``WORD_BYTES`` of it. The WebSocket protocol is the
package websockets', without its I/O.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from standins.worker import jobs
from standins.worker.answers import WORDS
from standins.worker.desk import Desk
from standins.worker.generate import Aborted, Pace
from standins.worker.jobs import Body
from standins.worker.manners import encoded
from standins.worker.refusals import Refusal
from standins.worker.server import Exchange

if TYPE_CHECKING:
    from websockets.server import ServerProtocol

MESSAGE_BYTES_MAX = 1024 * 1024
WORD_BYTES = 16_000  # half a second
BYTES_PER_TOKEN = 2560  # 80 ms
QUEUE_MAX = 1000
NO_MODEL = "Model not validated. Make sure to validate the model by sending a session.update event."


async def answer(desk: Desk, exchange: Exchange) -> None:
    if not exchange.request.is_upgrade:
        await exchange.answer(404, encoded({"detail": "Not Found"}))
        return
    desk.open_for_work()
    protocol = _handshake(exchange)
    await desk.engine.be_late(exchange)
    await exchange.take_over(b"".join(protocol.data_to_send()))
    session = _Session(desk, exchange, protocol, desk.identity(exchange))
    await session.serve()


def _handshake(exchange: Exchange) -> ServerProtocol:
    """The protocol, open, its answer to the client's request waiting to be sent."""
    from websockets.http11 import Request as Opening
    from websockets.server import ServerProtocol

    protocol = ServerProtocol(max_size=MESSAGE_BYTES_MAX)
    lines = [f"{name}: {value}" for name, value in exchange.request.headers.items()]
    head = "\r\n".join([f"GET {exchange.request.path} HTTP/1.1", *lines, "", ""])
    protocol.receive_data(head.encode("latin-1"))
    opening = next(iter(protocol.events_received()), None)
    answer_ = protocol.accept(opening) if isinstance(opening, Opening) else None
    if answer_ is None or answer_.status_code != 101:
        raise Refusal("This is no WebSocket handshake.", kind="Bad Request", param=None)
    protocol.send_response(answer_)
    return protocol


class _Session:
    """One client's connection: at most one utterance is transcribed at a time."""

    def __init__(
        self, desk: Desk, exchange: Exchange, protocol: ServerProtocol, identity: str
    ) -> None:
        self._desk = desk
        self._exchange = exchange
        self._protocol = protocol
        self._identity = identity
        self._utterances = 0
        self._has_model = False
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        self._work: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Until the client leaves; what is being said then is aborted."""
        await self._send({"type": "session.created", "id": f"sess-{self._identity}"})
        try:
            while content := await self._next_bytes():
                self._protocol.receive_data(content)
                for text in self._texts():
                    await self._take(text)
                await self._flush()
                if self._protocol.close_expected():
                    break
            self._exchange.gone = True
        finally:
            if self._work is not None and not self._work.done():
                self._work.cancel()
                await asyncio.wait({self._work})

    async def _next_bytes(self) -> bytes:
        """What the client sends next; ends also when what is being said fails."""
        reading = asyncio.ensure_future(self._exchange.read())
        waited = {reading} if self._work is None else {reading, self._work}
        try:
            while not reading.done():
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if self._work is not None and self._work.done():
                    work, self._work = self._work, None
                    work.result()  # a fault may have cut the connection
                    waited = {reading}
            return reading.result()
        finally:
            reading.cancel()

    def _texts(self) -> list[bytes]:
        from websockets.frames import Frame, Opcode

        events = self._protocol.events_received()
        frames = [event for event in events if isinstance(event, Frame)]
        return [bytes(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]

    async def _take(self, text: bytes) -> None:
        try:
            event: Any = json.loads(text)
        except ValueError:
            await self._refuse("Invalid JSON", "invalid_json")
            return
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "session.update":
            await self._choose(event.get("model"))
        elif kind == "input_audio_buffer.append":
            await self._hear(event.get("audio"))
        elif kind == "input_audio_buffer.commit":
            await self._commit(bool(event.get("final")))
        else:
            await self._refuse(f"Unknown event type: {kind}", "unknown_event")

    async def _choose(self, model: object) -> None:
        if model is None:
            await self._refuse("Missing required field: model", "invalid_event")
        elif model != self._desk.options.model:
            await self._refuse(f"The model `{model}` does not exist.", "model_not_found")
        else:
            self._has_model = True

    async def _hear(self, audio: object) -> None:
        try:
            sound = base64.b64decode(str(audio), validate=True)
            if not sound or len(sound) % 2:
                raise ValueError("no samples")
            self._heard.put_nowait(sound)
        except (ValueError, binascii.Error, asyncio.QueueFull):
            await self._refuse("Invalid audio data", "invalid_audio")

    async def _commit(self, final: bool) -> None:
        if not self._has_model:
            await self._refuse(NO_MODEL, "model_not_validated")
        elif final:
            with suppress(asyncio.QueueFull):
                self._heard.put_nowait(None)
        elif self._work is None:
            self._work = asyncio.ensure_future(self._transcribe())

    async def _transcribe(self) -> None:
        self._utterances += 1
        name = f"rt-{self._identity}-{self._utterances}"
        try:
            async with self._desk.engine.turn(self._exchange, name, 0, cuts=False) as turn:
                await self._say(turn)
        except Refusal as refusal:
            await self._refuse(refusal.message, "processing_error")

    async def _say(self, turn: Pace) -> None:
        """One word for each piece of audio of its length, until the final commit."""
        digest = hashlib.sha256()
        waiting = total = 0
        words: list[str] = []
        with suppress(Aborted):  # vLLM says that it is done then, with what it has
            while (sound := await self._heard.get()) is not None:
                total += len(sound)
                while sound:
                    part, sound = sound[: WORD_BYTES - waiting], sound[WORD_BYTES - waiting :]
                    digest.update(part)
                    waiting = (waiting + len(part)) % WORD_BYTES
                    if waiting:
                        continue
                    await turn.next(1)
                    word = WORDS[digest.digest()[len(words) % 32] % len(WORDS)]
                    words.append(f" {word}" if words else word)
                    await self._send({"type": "transcription.delta", "delta": words[-1]})
        heard = total // BYTES_PER_TOKEN
        self._desk.engine.book.prompt_tokens += heard
        usage = jobs.usage(heard, len(words), whole=True)
        await self._send({"type": "transcription.done", "text": "".join(words), "usage": usage})
        while not self._heard.empty():
            self._heard.get_nowait()

    async def _refuse(self, message: str, code: str) -> None:
        await self._send({"type": "error", "error": message, "code": code})

    async def _send(self, event: Body) -> None:
        if event["type"] == "session.created":
            event["created"] = self._desk.now()
        self._protocol.send_text(encoded(event))
        await self._flush()

    async def _flush(self) -> None:
        """Send what the protocol has to say, answers to pings and closes included."""
        content = b"".join(self._protocol.data_to_send())
        if content:
            await self._exchange.send(content)
