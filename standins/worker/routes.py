"""Which module answers which route. vLLM 0.32 has all but those marked; see docs/stand-ins.md."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from standins.worker import (
    chat,
    completions,
    embeddings,
    images,
    messages,
    realtime,
    responses,
    scores,
    side,
    speech,
    transcriptions,
)
from standins.worker.desk import Desk
from standins.worker.server import Exchange

Route = Callable[[Desk, Exchange], Awaitable[None]]

ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/v1/chat/completions"): chat.answer,
    ("POST", "/v1/completions"): completions.answer,
    ("POST", "/v1/responses"): responses.answer,
    ("POST", "/v1/messages"): messages.answer,
    ("POST", "/v1/messages/count_tokens"): messages.count_tokens,
    ("POST", "/v1/embeddings"): embeddings.answer_vectors,
    ("POST", "/pooling"): embeddings.answer_pooling,
    ("POST", "/classify"): scores.answer_classes,
    ("POST", "/score"): scores.answer_scores,
    ("POST", "/v1/score"): scores.answer_scores,
    ("POST", "/rerank"): scores.answer_ranking,
    ("POST", "/v1/rerank"): scores.answer_ranking,
    ("POST", "/v2/rerank"): scores.answer_ranking,
    ("POST", "/v1/audio/transcriptions"): transcriptions.answer_transcription,
    ("POST", "/v1/audio/translations"): transcriptions.answer_translation,
    ("POST", "/v1/audio/speech"): speech.answer,  # not vLLM's: OpenAI's
    ("POST", "/v1/images/generations"): images.answer,  # not vLLM's: OpenAI's
    ("GET", "/v1/realtime"): realtime.answer,
    ("GET", "/v1/models"): side.models,
    ("GET", "/health"): side.health,
    ("GET", "/version"): side.version,
    ("GET", "/load"): side.load,
    ("GET", "/metrics"): side.metrics,
    ("GET", "/stand-in/state"): side.state,
    ("POST", "/stand-in/faults"): side.add_faults,
    ("GET", "/stand-in/faults"): side.show_faults,
    ("DELETE", "/stand-in/faults"): side.clear_faults,
}

# Routes whose path ends in a name: its beginning, the end after the name, and who answers.
NAMED: tuple[tuple[str, str, str, Route], ...] = (
    ("GET", "/v1/responses/", "", responses.answer_stored),
    ("POST", "/v1/responses/", "/cancel", responses.answer_cancel),
    ("GET", "/stand-in/images/", ".png", images.answer_file),
)


def find(method: str, path: str) -> Route | None:
    """The route, or None; ``has_path`` tells whether another method would have found one."""
    known = ROUTES.get((method, path))
    return known or _named(path).get(method)


def has_path(path: str) -> bool:
    return bool(_named(path)) or any(path == known for _, known in ROUTES)


def _named(path: str) -> dict[str, Route]:
    found: dict[str, Route] = {}
    for method, begin, end, route in NAMED:
        inner = path.removeprefix(begin).removesuffix(end)
        if path == f"{begin}{inner}{end}" and inner and "/" not in inner:
            found.setdefault(method, route)
    return found
