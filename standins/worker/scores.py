"""/score, /rerank (each also below /v1, and /v2/rerank) and /classify: how near texts are."""

from __future__ import annotations

import math

from standins.worker import answers, jobs
from standins.worker.desk import Desk, answer_json
from standins.worker.embeddings import DIMENSIONS, unit_vector
from standins.worker.jobs import Body
from standins.worker.refusals import Refusal, bad_field, bad_value
from standins.worker.server import Exchange

TEXTS_MAX = 2048
LABELS = ("LABEL_0", "LABEL_1")
# The names that a score's two sides may have, the first of them as vLLM names it in an error.
SIDES = (
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
    ("text_1", "text_2"),
)


async def answer_scores(desk: Desk, exchange: Exchange) -> None:
    body = desk.pooling_body(exchange)
    left, right = _sides(body)
    tokens = _tokens(desk, left + right)
    many = left * len(right) if len(left) == 1 else left
    rows = [
        {"index": index, "object": "score", "score": near(one, other)}
        for index, (one, other) in enumerate(zip(many, right, strict=True))
    ]
    shown = _list(desk, exchange, "score", rows, tokens)
    await _give(desk, exchange, shown, tokens)


async def answer_ranking(desk: Desk, exchange: Exchange) -> None:
    body = desk.pooling_body(exchange)
    for name in ("query", "documents"):
        if body.get(name) is None:
            raise bad_field("missing", name, "Field required", body)
    query, documents = _texts(body["query"], "query"), _texts(body["documents"], "documents")
    _check_lengths(query, documents)
    top = body.get("top_n") or 0
    if not isinstance(top, int) or top < 0:
        message = "Input should be greater than or equal to 0"
        raise bad_field("greater_than_equal", "top_n", message, top)
    tokens = _tokens(desk, query + documents)
    rows = [
        {
            "index": index,
            "document": {"text": text, "multi_modal": None},
            "relevance_score": near(query[0], text),
        }
        for index, text in enumerate(documents)
    ]
    rows.sort(key=lambda row: -float(str(row["relevance_score"])))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    shown: Body = {
        "id": f"score-{desk.identity(exchange)}",
        "model": desk.options.model,
        "usage": usage,
        "results": rows[: top or len(rows)],
    }
    await _give(desk, exchange, shown, tokens)


async def answer_classes(desk: Desk, exchange: Exchange) -> None:
    """Two labels whose chances the text's digest says."""
    body = desk.pooling_body(exchange)
    if body.get("input") is None:
        raise bad_field("missing", "input", "Field required", body)
    texts = _texts(body["input"], "input")
    tokens = _tokens(desk, texts)
    rows = []
    for index, text in enumerate(texts):
        chance = 1 / (1 + math.exp(answers.logprob(text, 0) + 2))
        chances = [chance, 1 - chance]
        label = LABELS[chances.index(max(chances))]
        rows.append({"index": index, "label": label, "probs": chances, "num_classes": 2})
    shown = _list(desk, exchange, "classify", rows, tokens)
    await _give(desk, exchange, shown, tokens)


def near(one: str, other: str) -> float:
    """The cosine between two texts: higher the more words they share."""
    pairs = zip(unit_vector(one, DIMENSIONS), unit_vector(other, DIMENSIONS), strict=True)
    return math.fsum(left * right for left, right in pairs)


async def _give(desk: Desk, exchange: Exchange, shown: Body, tokens: int) -> None:
    async with desk.engine.turn(exchange, shown["id"], tokens) as turn:
        await turn.next(0)
        await answer_json(exchange, shown)


def _list(desk: Desk, exchange: Exchange, kind: str, rows: list[Body], tokens: int) -> Body:
    usage = jobs.usage(tokens, 0, whole=True)
    return {
        "id": f"{kind}-{desk.identity(exchange)}",
        "object": "list",
        "created": desk.now(),
        "model": desk.options.model,
        "data": rows,
        "usage": usage,
    }


def _sides(body: Body) -> tuple[list[str], list[str]]:
    for first, second in SIDES:
        if body.get(first) is not None and body.get(second) is not None:
            left, right = _texts(body[first], first), _texts(body[second], second)
            _check_lengths(left, right)
            return left, right
    raise bad_field("missing", "queries", "Field required", body)


def _check_lengths(left: list[str], right: list[str]) -> None:
    if len(left) > 1 and len(left) != len(right):
        raise Refusal("Input lengths must be either 1:1, 1:N or N:N", param=None)
    for texts, name in ((left, "text"), (right, "text_pair")):
        if not texts:
            raise Refusal(f"At least one {name} element must be given", param=None)


def _texts(given: object, name: str) -> list[str]:
    items = given if isinstance(given, list) else [given]
    texts = [text for text in items if isinstance(text, str)]
    if len(items) > TEXTS_MAX or len(texts) < len(items):
        raise bad_field("string_type", name, "Input should be a valid string", given)
    return texts


def _tokens(desk: Desk, texts: list[str]) -> int:
    longest = desk.limits.max_model_len
    total = 0
    for text in texts:
        length = max(answers.count(text), 1)
        if length > longest:
            message = f"This model's maximum context length is {longest} tokens."
            raise bad_value(message, "input_tokens", length)
        total += length
    return total
