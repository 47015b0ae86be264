"""/v1/embeddings and /pooling: steady unit vectors made from the text, as floats or base64."""

from __future__ import annotations

import base64
import hashlib
import math
import struct

from standins.worker import answers, jobs
from standins.worker.desk import Desk, answer_json
from standins.worker.jobs import Body, Limits
from standins.worker.refusals import Refusal, bad_field, bad_value
from standins.worker.server import Exchange

DIMENSIONS = 384
DIMENSIONS_MAX = 8192
INPUTS_MAX = 2048


async def answer_vectors(desk: Desk, exchange: Exchange) -> None:
    body = desk.pooling_body(exchange)
    identity = desk.identity(exchange)
    shown = answer(body, desk.limits, identity=identity, created=desk.now())
    async with desk.engine.turn(
        exchange, f"embd-{identity}", shown["usage"]["prompt_tokens"]
    ) as turn:
        await turn.next(0)
        await answer_json(exchange, shown)


async def answer_pooling(desk: Desk, exchange: Exchange) -> None:
    """The same vectors under other names."""
    body = desk.pooling_body(exchange)
    identity = desk.identity(exchange)
    shown = answer(body, desk.limits, identity=identity, created=desk.now())
    rows = [
        {"index": row["index"], "object": "pooling", "data": row["embedding"]}
        for row in shown["data"]
    ]
    shown |= {"id": f"pooling-{identity}", "data": rows}
    async with desk.engine.turn(exchange, shown["id"], shown["usage"]["prompt_tokens"]) as turn:
        await turn.next(0)
        await answer_json(exchange, shown)


def answer(body: Body, limits: Limits, *, identity: str, created: int) -> Body:
    """The whole answer; raises ``Refusal`` as vLLM would."""
    texts = _inputs(body)
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad_field("literal_error", "encoding_format", "Input should be 'float'", encoding)
    dimensions = jobs.whole_number(body, "dimensions", DIMENSIONS, 1, DIMENSIONS_MAX)
    tokens = 0
    rows: list[Body] = []
    for index, text in enumerate(texts):
        length = max(answers.count(text), 1)
        if length > limits.max_model_len:
            message = f"This model's maximum context length is {limits.max_model_len} tokens."
            raise bad_value(message, "input_tokens", length)
        tokens += length
        vector = unit_vector(text, dimensions)
        shown = list(vector) if encoding == "float" else _base64(vector)
        rows.append({"index": index, "object": "embedding", "embedding": shown})
    return {
        "id": f"embd-{identity}",
        "object": "list",
        "created": created,
        "model": limits.model,
        "data": rows,
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
    }


def unit_vector(text: str, dimensions: int) -> tuple[float, ...]:
    """A vector of length one. Texts that share words lie near each other."""
    sums = [0.0] * dimensions
    for word in {word.strip().lower() for word in answers.split(text)} or {""}:
        seed = hashlib.shake_128(word.encode()).digest(dimensions)
        for place, byte in enumerate(seed):
            sums[place] += byte - 127.5
    length = math.sqrt(math.fsum(value * value for value in sums))
    return tuple(value / length for value in sums)


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _inputs(body: Body) -> list[str]:
    given = body.get("input")
    if given is None:
        raise bad_field("missing", "input", "Field required", body)
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(type(item) is int for item in given):
        return [" ".join(map(str, given))]
    if not isinstance(given, list) or not 1 <= len(given) <= INPUTS_MAX:
        raise Refusal(f"input takes 1 to {INPUTS_MAX} texts", param="input")
    return [_one(item) for item in given]


def _one(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and all(type(number) is int for number in item):
        return " ".join(map(str, item))
    raise bad_field("string_type", "input", "Input should be a valid string", item)
