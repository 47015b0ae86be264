"""Streams as vLLM writes them, for the tests of the automaton."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import strategies as st

DONE = b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


def usage(prompt: int = 7, completion: int = 3) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return event({"id": "c", "choices": [], "usage": counts})


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hello"})
WORLD = chunk({"content": " wörld"})
STOP = chunk({}, "stop")
WHOLE = ROLE + HELLO + WORLD + STOP + usage() + DONE
SHOWN = ROLE + HELLO + WORLD + STOP + DONE  # the same, as one sees it who did not ask for usage


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A complete stream with usage somewhere, and the same without any usage."""
    texts = draw(st.lists(st.text(max_size=12), min_size=1, max_size=6))
    shown, told = [ROLE], [ROLE]
    for number, text in enumerate(texts):
        with_usage = draw(st.booleans())
        more = {"usage": {"prompt_tokens": 1, "completion_tokens": number}} if with_usage else {}
        shown.append(chunk({"content": text}))
        told.append(chunk({"content": text}, None, **more))
        if draw(st.booleans()):
            comment = b": still here\n\n"
            shown.append(comment)
            told.append(comment)
    told += [STOP, usage(5, len(texts)), DONE]
    shown += [STOP, DONE]
    return b"".join(told), b"".join(shown)


def cuts(content: bytes, places: list[int]) -> list[bytes]:
    """The content in pieces, cut at these places."""
    edges = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return [content[a:b] for a, b in pairwise(edges)]
