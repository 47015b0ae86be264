"""What each vendor's client is to do: every route, and on each every class of error.

A plan is a list of ``Step``; a walk (one process a client) takes them in order and says, a line of
JSON a step, what its client made of each. What decides a step's end is its key, its model's name
and its body, so the same plan is taken in front of a stand-in and of real vLLM.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.support.workers_routes import MESSAGES, sound

CHAT, COMPLETIONS, EMBEDDINGS = "chat", "completions", "embeddings"
RESPONSES, MESSAGES_ROUTE, COUNT = "responses", "messages", "count_tokens"
RERANK, SCORE, IMAGES, SPEECH = "rerank", "score", "images", "speech"
RERANK_2 = "rerank_2"  # as Cohere's clients ask for it
HEAR, TRANSLATE, MODELS = "transcriptions", "translations", "models"
TEXT = (CHAT, COMPLETIONS, RESPONSES, MESSAGES_ROUTE, COUNT)
POOLED = (EMBEDDINGS, RERANK, RERANK_2, SCORE)
SOUNDS = (HEAR, TRANSLATE)
REAL = (*TEXT, *POOLED, *SOUNDS, MODELS)  # what a real vLLM serves of these
STREAMED = (CHAT, COMPLETIONS, RESPONSES, MESSAGES_ROUTE, HEAR)

# Keys by what is the matter with them.
GOOD, WRONG, POOR, NARROW, SPENT = "good", "wrong", "poor", "narrow", "spent"
SERVED, ABSENT, UNKNOWN = "m", "absent", "nothing"
PATHS = {
    CHAT: "/v1/chat/completions",
    COMPLETIONS: "/v1/completions",
    EMBEDDINGS: "/v1/embeddings",
    RESPONSES: "/v1/responses",
    MESSAGES_ROUTE: "/v1/messages",
    COUNT: "/v1/messages/count_tokens",
    RERANK: "/v1/rerank",
    RERANK_2: "/v2/rerank",
    SCORE: "/v1/score",
    IMAGES: "/v1/images/generations",
    SPEECH: "/v1/audio/speech",
    HEAR: "/v1/audio/transcriptions",
    TRANSLATE: "/v1/audio/translations",
    MODELS: "/v1/models",
}
HUGE_BYTES = 120_000  # above what the gateway in front takes
WHOLE, ONE, FIRST, STREAM, CUT = "whole", "one", "first", "stream", "cut"
DOWN = "down"  # any status that says that the worker failed
STATUSES = (400, 401, 402, 403, 404, 409, 413, 422, 429, 502, 503, 504)

LIKELIEST = {"temperature": 0}  # else a model of seeded noise says nothing here, once in 150
RANKED = {"query": "a", "documents": ["b", "c"]}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": MESSAGES, "max_tokens": 8},
    COMPLETIONS: {"prompt": "The brain", "max_tokens": 8, **LIKELIEST},
    EMBEDDINGS: {"input": ["one", "two"]},
    RESPONSES: {"input": "Which node?"},
    MESSAGES_ROUTE: {"messages": MESSAGES, "max_tokens": 8},
    COUNT: {"messages": MESSAGES},
    RERANK: RANKED,
    RERANK_2: RANKED,
    SCORE: {"text_1": "a", "text_2": ["b", "c"]},
    IMAGES: {"prompt": "A lattice", "size": "64x64", "response_format": "b64_json"},
    SPEECH: {"input": "Say it now.", "voice": "alloy", "response_format": "pcm"},
    HEAR: {"temperature": 0},
    TRANSLATE: {"temperature": 0},
    MODELS: {},
}
# What a worker itself finds fault with.
BAD: dict[str, dict[str, Any]] = {
    CHAT: {"max_tokens": 1_000_000},
    COMPLETIONS: {"max_tokens": 1_000_000},
    EMBEDDINGS: {"input": ["brain plan " * 5_000]},
    RESPONSES: {"max_output_tokens": 1_000_000},
    MESSAGES_ROUTE: {"max_tokens": -1},
    COUNT: {"messages": None},
    RERANK: {"documents": None},
    RERANK_2: {"documents": None},
    SCORE: {"text_2": None},
    IMAGES: {"size": "1x1"},
    SPEECH: {"response_format": "song"},
    HEAR: {"response_format": "srt"},
    TRANSLATE: {"response_format": "srt"},
}
# Where a body's text stands, to make it huge.
TEXT_OF = {
    COMPLETIONS: "prompt",
    EMBEDDINGS: "input",
    RESPONSES: "input",
    RERANK: "query",
    RERANK_2: "query",
    SCORE: "text_1",
    IMAGES: "prompt",
    SPEECH: "input",
}
# An answer of more than 256 KiB, which is not kept for an Idempotency-Key; streams never are.
LONG: dict[str, dict[str, Any]] = {
    EMBEDDINGS: {"input": ["x"] * 300, "encoding_format": "float"},
    SPEECH: {"input": "word " * 200},
}


@dataclass(frozen=True)
class Step:
    """One request. ``pad`` bytes are added to a form's file."""

    route: str
    case: str
    key: str
    body: dict[str, Any]
    stream: bool = False
    idempotency_key: str = ""
    pad: int = 0
    impatient: bool = False  # to the gateway that waits for a worker's first byte only shortly


@dataclass(frozen=True)
class Plan:
    """``url`` and ``impatient_url`` are gateways, without ``/v1``."""

    url: str
    impatient_url: str
    keys: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    further: bool = True  # what the client can do beside the steps is shown too

    def told(self) -> dict[str, Any]:
        """As a walk reads it."""
        return {**asdict(self), "sound": base64.b64encode(sound()).decode()}


def failing_model(kind: str, client: str, route: str) -> str:
    """One of its own for each, as a worker that failed twice is left alone for a while."""
    return f"{kind}-{client}-{route}"


def steps(client: str, route: str, model: str = SERVED) -> list[Step]:
    """Every case that there is on a route; ``model`` is the name that works."""
    if route == MODELS:
        keys = {WHOLE: GOOD, "401": WRONG, "403": NARROW}
        listed = [Step(route, case, key, {}) for case, key in keys.items()]
        one, none = ({"model": name} for name in (model, UNKNOWN))
        return [*listed, Step(route, ONE, GOOD, one), Step(route, "404", GOOD, none)]
    plain = {"model": model, **BODIES[route]}
    found = [
        Step(route, WHOLE, GOOD, plain),
        Step(route, "400", GOOD, plain | BAD[route]),
        Step(route, "401", WRONG, plain),
        Step(route, "402", POOR, plain),
        Step(route, "403", NARROW, plain),
        Step(route, "404", GOOD, plain | {"model": UNKNOWN}),
        _huge(route, plain),
        Step(route, "429", SPENT, plain),
        Step(route, "502", GOOD, plain | {"model": failing_model("broken", client, route)}),
        Step(route, "503", GOOD, plain | {"model": ABSENT}),
        Step(
            route,
            "504",
            GOOD,
            plain | {"model": failing_model("silent", client, route)},
            impatient=True,
        ),
        *_repeated(client, route, plain),
    ]
    if route in STREAMED:
        cut = plain | {"model": failing_model("cut", client, route)}
        found += [
            Step(route, STREAM, GOOD, plain, stream=True),
            Step(route, CUT, GOOD, cut, stream=True),
        ]
    elif route == SPEECH:
        cut = plain | {"model": failing_model("cut", client, route), "input": "word " * 20}
        found.append(Step(route, CUT, GOOD, cut))
    return found


def has_conflict(route: str) -> bool:
    """Whether an answer of this route is one that is not kept."""
    return route in STREAMED or route in LONG


def _huge(route: str, plain: dict[str, Any]) -> Step:
    if route in SOUNDS:
        return Step(route, "413", GOOD, plain, pad=HUGE_BYTES)
    long = "x" * HUGE_BYTES
    name = TEXT_OF.get(route)
    more = {name: long} if name else {"messages": [{"role": "user", "content": long}]}
    return Step(route, "413", GOOD, plain | more)


def _repeated(client: str, route: str, plain: dict[str, Any]) -> list[Step]:
    """Under one Idempotency-Key: again with an answer that was not kept; with other input."""
    key = f"{client}-{route}"
    stream = route in STREAMED
    first = plain | ({} if stream else LONG.get(route, {}))
    other = plain | {"user": "somebody"}
    again = [Step(route, "409", GOOD, first, stream, key)] if has_conflict(route) else []
    return [
        Step(route, FIRST, GOOD, first, stream, key),
        *again,
        Step(route, "422", GOOD, other, stream, key),
    ]
