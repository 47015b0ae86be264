"""/v1/audio/speech: text in, audio out as it is made. OpenAI's shape: vLLM has no such route.

A token is a tone of ``CHUNK_SECONDS``; ``mp3`` is real and silent, as there is no encoder here.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from dataclasses import dataclass

from standins.worker import answers
from standins.worker.desk import Desk
from standins.worker.generate import Pace
from standins.worker.jobs import Body
from standins.worker.manners import bare
from standins.worker.refusals import bad_field, bad_value
from standins.worker.server import Exchange

RATE = 24_000  # samples a second, 16 bit, one channel
CHUNK_SECONDS = 0.08
SAMPLES = int(RATE * CHUNK_SECONDS)
INPUT_MAX = 4096
TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm"}
OTHER_FORMATS = ("opus", "aac", "flac")
# One silent frame of MPEG 1 layer III, 128 kbit/s at 44.1 kHz: 26 ms; three to a token.
MP3_FRAME = b"\xff\xfb\x90\xc4" + bytes(413)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be said."""

    tokens: tuple[str, ...]
    form: str
    voice: str
    events: bool


async def answer(desk: Desk, exchange: Exchange) -> None:
    order = read(desk.body(exchange))
    identity = f"speech-{desk.identity(exchange)}"
    async with desk.engine.turn(exchange, identity, len(order.tokens)) as turn:
        await _say(order, exchange, turn)


def read(body: Body) -> Order:
    """The order; raises ``Refusal`` for what OpenAI's route refuses too."""
    for name in ("input", "voice"):
        if body.get(name) is None:
            raise bad_field("missing", name, "Field required", body)
    text = body["input"]
    if not isinstance(text, str) or not text:
        raise bad_field("string_type", "input", "Input should be a valid string", text)
    if len(text) > INPUT_MAX:
        raise bad_value(f"input takes at most {INPUT_MAX} characters.", "input", len(text))
    form = body.get("response_format") or "mp3"
    if form not in TYPES:
        known = form in OTHER_FORMATS
        reason = "The stand-in has no encoder for" if known else "There is no audio format"
        raise bad_value(f"{reason} {form}: ask for mp3, wav or pcm.", "response_format", form)
    speed = body.get("speed", 1.0)
    if not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        raise bad_value("speed must be in [0.25, 4].", "speed", speed)
    events = body.get("stream_format", "audio") == "sse"
    return Order(answers.split(text), form, str(body["voice"]), events)


async def _say(order: Order, exchange: Exchange, turn: Pace) -> None:
    for place, token in enumerate(order.tokens):
        await turn.next(1)
        sound = _sound(order, token)
        if place == 0:
            kind = "text/event-stream; charset=utf-8" if order.events else TYPES[order.form]
            await exchange.begin(200, kind)
            sound = _head(order) + sound
        await exchange.send(_delta(sound) if order.events else sound)
    if order.events:
        count = len(order.tokens)
        usage = {"input_tokens": count, "output_tokens": count, "total_tokens": 2 * count}
        await exchange.send(bare({"type": "speech.audio.done", "usage": usage}))
    await exchange.end()


def _delta(sound: bytes) -> bytes:
    return bare({"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()})


def _head(order: Order) -> bytes:
    if order.form != "wav":
        return b""
    size = 2 * SAMPLES * len(order.tokens)
    shape = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    begin = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16)
    return begin + shape + b"data" + struct.pack("<I", size)


def _sound(order: Order, token: str) -> bytes:
    if order.form == "mp3":
        return 3 * MP3_FRAME
    pitch = 110 + 4 * hashlib.sha256(f"{order.voice}:{token}".encode()).digest()[0]
    step = 2 * math.pi * pitch / RATE
    return struct.pack(f"<{SAMPLES}h", *(int(6000 * math.sin(step * n)) for n in range(SAMPLES)))
