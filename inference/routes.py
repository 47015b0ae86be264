"""The routes of the data plane, by path and method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    INFERENCE = auto()  # forwarded to a worker, for a key
    MODELS = auto()  # a list, for a key
    OPEN = auto()  # health and metrics: no key


INFERENCE, OPEN = Kind.INFERENCE, Kind.OPEN  # met by each request: a look into the class is slow


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    path: bytes
    method: bytes
    kind: Kind


_ALL = (
    Route("chat", b"/v1/chat/completions", b"POST", Kind.INFERENCE),
    Route("completions", b"/v1/completions", b"POST", Kind.INFERENCE),
    Route("embeddings", b"/v1/embeddings", b"POST", Kind.INFERENCE),
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
