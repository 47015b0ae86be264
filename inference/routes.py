"""The routes of the data plane, by path and method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from inference.dialects import ANTHROPIC, OPENAI, OPENAI_RESPONSES, Dialect
from inference.upload_words import WORDS


class Kind(Enum):
    INFERENCE = auto()  # forwarded to a worker, for a key
    MODELS = auto()  # a list, for a key
    OPEN = auto()  # health and metrics: no key
    SOCKET = auto()  # a WebSocket, for a key


INFERENCE, OPEN = Kind.INFERENCE, Kind.OPEN  # met by each request: a look into the class is slow
SOCKET = Kind.SOCKET


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    path: bytes
    method: bytes
    kind: Kind
    dialect: Dialect = OPENAI
    many: tuple[str, ...] = ()  # members of the body whose items run side by side
    usage_option: bool = False  # a stream tells its usage where ``stream_options`` asks for it
    stateless: bool = False  # what would be kept between requests is refused
    binary: bool = False  # the answer need not be JSON
    form: bool = False  # the body is a form with a file, passed on as it comes


def _post(name: str, path: bytes, **how: Any) -> Route:
    return Route(name, path, b"POST", Kind.INFERENCE, **how)


CHAT = _post("chat", b"/v1/chat/completions", usage_option=True)
_ALL = (
    CHAT,
    _post("completions", b"/v1/completions", usage_option=True, many=("prompt",)),
    _post("embeddings", b"/v1/embeddings", many=("input",)),
    _post("responses", b"/v1/responses", dialect=OPENAI_RESPONSES, stateless=True),
    _post("messages", b"/v1/messages", dialect=ANTHROPIC),
    _post("count_tokens", b"/v1/messages/count_tokens", dialect=ANTHROPIC),
    _post("rerank", b"/v1/rerank", many=("documents",)),
    _post("rerank", b"/v2/rerank", many=("documents",)),
    _post("score", b"/v1/score", many=("text_2", "data_2", "documents", "items")),
    _post("images", b"/v1/images/generations"),
    _post("speech", b"/v1/audio/speech", binary=True),
    _post("transcriptions", b"/v1/audio/transcriptions", dialect=WORDS, binary=True, form=True),
    _post("translations", b"/v1/audio/translations", dialect=WORDS, binary=True, form=True),
    Route("transcriptions_stream", b"/v1/audio/transcriptions/stream", b"GET", Kind.SOCKET),
    Route("speech_stream", b"/v1/audio/speech/stream", b"GET", Kind.SOCKET),
    Route("realtime", b"/v1/realtime", b"GET", Kind.SOCKET),
    Route("models", b"/v1/models", b"GET", Kind.MODELS),
    Route("live", b"/health/live", b"GET", Kind.OPEN),
    Route("ready", b"/health/ready", b"GET", Kind.OPEN),
    Route("metrics", b"/metrics", b"GET", Kind.OPEN),
)
_BY_PATH = {route.path: route for route in _ALL}
_MODEL = Route("model", b"/v1/models/", b"GET", Kind.MODELS)


def find(path: bytes) -> Route | None:
    """The route of a path without its query, whatever the method; ``None`` for no route."""
    found = _BY_PATH.get(path)
    if found is None and path.startswith(_MODEL.path) and len(path) > len(_MODEL.path):
        return _MODEL
    return found


def every_route() -> tuple[Route, ...]:
    """All routes, for tests that walk them."""
    return (*_ALL, _MODEL)
