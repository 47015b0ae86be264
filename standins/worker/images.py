"""/v1/images/generations: real PNGs made by code. OpenAI's shape: vLLM has no such route."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from dataclasses import dataclass

from standins.worker import answers, jobs
from standins.worker.desk import Desk, answer_json
from standins.worker.jobs import Body
from standins.worker.refusals import Refusal, bad_field, bad_value
from standins.worker.server import Exchange

SIDE_MIN, SIDE_MAX = 16, 2048
COUNT_MAX = 10
STEPS = 20  # each takes one token's time
PATH = "/stand-in/images/"
_NAME = re.compile(r"(\d{2,4})x(\d{2,4})-([0-9a-f]{16})\.png")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be drawn. Each picture's name says all there is to know of it."""

    names: tuple[str, ...]
    size: str
    as_url: bool
    prompt_tokens: int


async def answer(desk: Desk, exchange: Exchange) -> None:
    order = read(desk.body(exchange))
    identity = f"img-{desk.identity(exchange)}"
    async with desk.engine.turn(exchange, identity, order.prompt_tokens) as turn:
        for _ in range(STEPS * len(order.names)):
            await turn.next(0)
        await answer_json(exchange, _whole(order, exchange, desk.now()))


async def answer_file(desk: Desk, exchange: Exchange) -> None:
    """A picture by its name, drawn anew: nothing is kept."""
    name = exchange.request.path.removeprefix(PATH)
    if not _is_name(name):
        raise Refusal("There is no such picture.", kind="NotFoundError", status=404, param=None)
    await exchange.answer(200, draw(name), content_type="image/png")


def read(body: Body) -> Order:
    """The order; raises ``Refusal`` for what OpenAI's route refuses too."""
    prompt = body.get("prompt")
    if prompt is None:
        raise bad_field("missing", "prompt", "Field required", body)
    if not isinstance(prompt, str):
        raise bad_field("string_type", "prompt", "Input should be a valid string", prompt)
    count = jobs.whole_number(body, "n", 1, 1, COUNT_MAX)
    asked = body.get("size") or "1024x1024"
    size = "1024x1024" if asked == "auto" else str(asked)
    form = body.get("response_format") or "b64_json"
    if form not in ("b64_json", "url"):
        raise bad_value("response_format is b64_json or url.", "response_format", form)
    if (body.get("output_format") or "png") != "png":
        raise bad_value("The stand-in makes png only.", "output_format", body["output_format"])
    names = []
    for number in range(count):
        digest = hashlib.sha256(f"{number}:{prompt}".encode()).hexdigest()[:16]
        names.append(f"{size}-{digest}.png")
    if not all(map(_is_name, names)):
        sides = f"WIDTHxHEIGHT with sides from {SIDE_MIN} to {SIDE_MAX}."
        raise bad_value(f"size is {sides}", "size", size)
    return Order(tuple(names), size, form == "url", max(answers.count(prompt), 1))


def draw(name: str) -> bytes:
    """The picture as a PNG: stripes in the colours and the slant that its digest says."""
    width, height, seed = _read_name(name)
    stripe = seed[:3] * (4 + seed[3] % 13) + seed[4:7] * (4 + seed[7] % 13)
    pattern = stripe * ((width * 3) // len(stripe) + 2)
    rows = []
    for y in range(height):
        at = 3 * (y % (len(stripe) // 3))
        rows.append(b"\0" + pattern[at : at + 3 * width])
    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (("IHDR", shape), ("IDAT", zlib.compress(b"".join(rows), 1)), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: str, content: bytes) -> bytes:
    named = kind.encode() + content
    return struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))


def _whole(order: Order, exchange: Exchange, created: int) -> Body:
    tokens = 256 * len(order.names)
    host = exchange.request.headers.get("host", "127.0.0.1")
    rows = [
        {"url": f"http://{host}{PATH}{name}"}
        if order.as_url
        else {"b64_json": base64.b64encode(draw(name)).decode()}
        for name in order.names
    ]
    usage = {
        "input_tokens": order.prompt_tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": order.prompt_tokens},
        "output_tokens": tokens,
        "total_tokens": order.prompt_tokens + tokens,
    }
    shown = {"created": created, "data": rows, "size": order.size, "usage": usage}
    return shown | {"output_format": "png", "background": "opaque", "quality": "low"}


def _is_name(name: str) -> bool:
    found = _NAME.fullmatch(name)
    sides = [int(side) for side in found.groups()[:2]] if found else [0]
    return all(SIDE_MIN <= side <= SIDE_MAX for side in sides)


def _read_name(name: str) -> tuple[int, int, bytes]:
    found = _NAME.fullmatch(name)
    assert found, "a picture's name was checked before"
    return int(found[1]), int(found[2]), bytes.fromhex(found[3])
