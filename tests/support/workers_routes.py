"""One small request for each route of a worker that does work, for tests that take them all."""

from __future__ import annotations

import io
import wave
from typing import Any

MESSAGES = [{"role": "user", "content": "Which node?"}]


def sound(seconds: float = 1.0) -> bytes:
    """Silence as a WAV: 16 kHz, 16 bit, one channel."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * int(16_000 * seconds)))
    return content.getvalue()


SPEECH = {"input": "Say it now.", "voice": "alloy", "response_format": "wav"}
PAIR = {"text_1": "a", "text_2": ["b", "c"]}
RANK = {"query": "a", "documents": ["b", "c"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 30},
    "/v1/embeddings": {"input": "x"},
    "/pooling": {"input": "x"},
    "/classify": {"input": "x"},
    "/score": PAIR,
    "/v1/score": PAIR,
    "/rerank": RANK,
    "/v1/rerank": RANK,
    "/v2/rerank": RANK,
    "/v1/audio/speech": SPEECH,
    "/v1/images/generations": {"prompt": "x", "size": "64x64"},
}
FORMS = ("/v1/audio/transcriptions", "/v1/audio/translations")
PATHS = (*BODIES, *FORMS)
STREAMS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/speech",
    *FORMS,
)


def request(path: str, model: str, *, stream: bool = False) -> dict[str, Any]:
    """What httpx is to send: ``httpx.post(url + path, **request(path, model))``."""
    if path in FORMS:
        fields = {"model": model, "stream": str(stream).lower()}
        return {"data": fields, "files": {"file": ("a.wav", sound(), "audio/wav")}}
    body = {"model": model, **BODIES[path]}
    if path == "/v1/audio/speech":
        return {"json": body | ({"stream_format": "sse"} if stream else {})}
    return {"json": body | ({"stream": True} if stream else {})}
