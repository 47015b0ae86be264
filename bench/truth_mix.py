"""What the clients of the proof under kills ask: every route, chat the most, chosen by the seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from bench.truth_wire import DONE
from tests.support.workers_routes import sound

PLAIN_TOKENS, STREAM_TOKENS = range(1, 5), range(4, 13)
SOUND_SECONDS = 0.1
JSON, FORM = b"application/json", b"multipart/form-data; boundary=XXb"
QUESTION = "Which node runs this?"
OWN_SHARE = 0.2  # of the requests: by the account that has a deployment of its own
KEYED_SHARE = 0.04  # bear an Idempotency-Key, and are sent twice
# Of a hundred requests that are heard to their end.
SHARES = {
    "chat": 40,
    "chat stream": 24,
    "completions": 4,
    "completions stream": 4,
    "messages": 4,
    "messages stream": 4,
    "responses": 4,
    "responses stream": 4,
    "embeddings": 4,
    "rerank": 2,
    "score": 2,
    "transcriptions": 2,
    "speech": 2,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A whole request. ``end`` stands at the end of a stream that is whole; ``mark`` is that of
    its ``Idempotency-Key``, which the worker is told as the trace."""

    request: bytes
    end: bytes = b""
    mark: str = ""
    kind: str = ""

    def keyed(self, mark: str) -> Ask:
        """The same under a key; ``mark`` is 32 characters of hex."""
        line, _, rest = self.request.partition(b"\r\n")
        trace = f"00-{mark}-{mark[:16]}-01"
        lines = f"idempotency-key: {mark}\r\ntraceparent: {trace}\r\n".encode()
        return replace(self, request=line + b"\r\n" + lines + rest, mark=mark)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, and what its account calls the model."""

    key: str
    model: str


class Mix:
    """All that is asked. The first caller asks for a model of the pool, the second, where there
    is one, for its own."""

    def __init__(self, callers: Iterable[Caller]) -> None:
        self._asks = [_asks(caller) for caller in callers]
        self._kinds = list(SHARES)
        self._sums = list(accumulate(SHARES.values()))

    def one(self, chance: Random) -> Ask:
        kind = chance.choices(self._kinds, cum_weights=self._sums)[0]
        ask = replace(chance.choice(self._of(chance)[kind]), kind=kind)
        return ask.keyed(f"{chance.getrandbits(128):032x}") if _hit(chance, KEYED_SHARE) else ask

    def stream(self, chance: Random) -> Ask:
        """One that has a middle to hang up in."""
        asks = self._of(chance)
        kind = chance.choice([name for name in asks if name.endswith("stream")])
        return chance.choice(asks[kind])

    def _of(self, chance: Random) -> dict[str, list[Ask]]:
        own = _hit(chance, OWN_SHARE)
        return self._asks[-1 if own else 0]


def chat(key: str, model: str, tokens: int, *, stream: bool = False, **more: object) -> bytes:
    """A whole request for chat."""
    asked = {"messages": _messages(), "max_tokens": tokens, "stream": stream}
    return _post(Caller(key, model), "/v1/chat/completions", asked | more).request


def _asks(caller: Caller) -> dict[str, list[Ask]]:
    """By kind: a request for each length."""
    made: dict[str, list[Ask]] = {
        "embeddings": [_post(caller, "/v1/embeddings", {"input": [QUESTION, "b"]})],
        "rerank": [_post(caller, "/v1/rerank", {"query": QUESTION, "documents": ["b", "c"]})],
        "score": [_post(caller, "/v1/score", {"text_1": QUESTION, "text_2": ["b", "c"]})],
        "speech": [_post(caller, "/v1/audio/speech", {"input": QUESTION, "voice": "alloy"})],
        "transcriptions": [_upload(caller)],
    }
    for name, path, asked, most, end in (
        ("chat", "/v1/chat/completions", {"messages": _messages()}, "max_tokens", DONE),
        ("completions", "/v1/completions", {"prompt": QUESTION}, "max_tokens", DONE),
        ("messages", "/v1/messages", {"messages": _messages()}, "max_tokens", b"message_stop"),
        ("responses", "/v1/responses", {"input": QUESTION}, "max_output_tokens", b".completed"),
    ):
        made[name] = [_post(caller, path, asked | {most: n}) for n in PLAIN_TOKENS]
        made[f"{name} stream"] = [
            _post(caller, path, asked | {most: n, "stream": True}, end) for n in STREAM_TOKENS
        ]
    return made


def _post(caller: Caller, path: str, asked: dict[str, object], end: bytes = b"") -> Ask:
    body = json.dumps({"model": caller.model} | asked).encode()
    return Ask(_whole(caller, path, JSON, body), end)


def _upload(caller: Caller) -> Ask:
    part = b'--XXb\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    named = part % (b"model", caller.model.encode())
    file = part % (b'file"; filename="a.wav', sound(SOUND_SECONDS))
    path = "/v1/audio/transcriptions"
    return Ask(_whole(caller, path, FORM, named + file + b"--XXb--\r\n"))


def _whole(caller: Caller, path: str, kind: bytes, body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\n"
        b"content-type: %b\r\ncontent-length: %d\r\n\r\n%b"
    ) % (path.encode(), caller.key.encode(), kind, len(body), body)


def _messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION}]


def _hit(chance: Random, share: float) -> bool:
    return chance.random() < share
