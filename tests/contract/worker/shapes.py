"""The shapes of a worker's answers: key by key, with the kind of each value, without the values.

    python -m tests.contract.worker.shapes URL MODEL > tests/contract/worker/golden.json

records them from a running worker; the committed file was recorded from real vLLM.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx

MESSAGES = [{"role": "user", "content": "The brain plans where a model runs."}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": MESSAGES, "max_tokens": 3}),
    "chat_logprobs": (
        CHAT,
        {"messages": MESSAGES, "max_tokens": 3, "logprobs": True, "top_logprobs": 2},
    ),
    "chat_many": (CHAT, {"messages": MESSAGES, "max_tokens": 3, "n": 2}),
    "completion": (COMPLETIONS, {"prompt": "The brain", "max_tokens": 3}),
    "completion_many": (COMPLETIONS, {"prompt": ["The", "A"], "max_tokens": 3, "echo": True}),
    "unknown_model": (CHAT, {"model": "nope", "messages": MESSAGES}),
    "no_messages": (CHAT, {}),
    "no_tokens": (CHAT, {"messages": MESSAGES, "max_tokens": 0}),
    "too_many_tokens": (CHAT, {"messages": MESSAGES, "max_tokens": 100_000}),
    "long_prompt": (CHAT, {"messages": [{"role": "user", "content": "brain plan " * 2500}]}),
    "too_hot": (CHAT, {"messages": MESSAGES, "temperature": 9}),
    "no_choices": (CHAT, {"messages": MESSAGES, "n": 0}),
    "options_without_stream": (
        CHAT,
        {"messages": MESSAGES, "stream_options": {"include_usage": True}},
    ),
    "too_many_logprobs": (CHAT, {"messages": MESSAGES, "logprobs": True, "top_logprobs": 30}),
    "wrong_type": (CHAT, {"messages": MESSAGES, "max_tokens": "x"}),
}
STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": MESSAGES}),
    "completion": (COMPLETIONS, {"prompt": "The brain"}),
}
STREAM = {"stream": True, "max_tokens": 6, "seed": 3, "ignore_eos": True}
USAGE = {"include_usage": True, "continuous_usage_stats": True}


def shape(value: object) -> Any:
    if isinstance(value, dict):
        kinds = {key: shape(inner) for key, inner in sorted(value.items())}
        return kinds | ({"bytes": "numbers"} if "bytes" in kinds else {})  # a mark's are none
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return "number" if isinstance(value, int | float) else "text"


def answer_shape(url: str, model: str, name: str) -> Any:
    """The status and shape of one plain answer; an error's type, param and code word for word."""
    path, body = ASKED[name]
    answer = httpx.post(f"{url}{path}", json={"model": model, **body}, timeout=60)
    content = answer.json()
    facts = {"status": answer.status_code, "body": shape(content)}
    if "error" in content:
        facts["error"] = {key: content["error"][key] for key in ("type", "param", "code")}
    return facts


def stream_shape(url: str, model: str, name: str, *, usage: bool) -> Any:
    """The shapes of the first, a middle and the last chunks of a stream, and how it ends."""
    path, body = STREAMED[name]
    asked = {"model": model, **body, **STREAM} | ({"stream_options": USAGE} if usage else {})
    answer = httpx.post(f"{url}{path}", json=asked, timeout=60)
    events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    spoken = [chunk for chunk in chunks if chunk["choices"]]
    return {
        "status": answer.status_code,
        "type": answer.headers["content-type"],
        "first": shape(spoken[0]),
        "middle": shape(spoken[1]),
        "last_choice_keys": sorted(spoken[-1]["choices"][0]),
        "last": shape(chunks[-1]) if usage else sorted(chunks[-1]),
        "end": events[-1],
    }


def models_shape(url: str) -> Any:
    return shape(httpx.get(f"{url}/v1/models", timeout=60).json())


def all_shapes(url: str, model: str) -> dict[str, Any]:
    plain = {name: answer_shape(url, model, name) for name in ASKED}
    streams = {
        f"{name}{'_usage' if usage else ''}": stream_shape(url, model, name, usage=usage)
        for name in STREAMED
        for usage in (False, True)
    }
    return {"plain": plain, "streams": streams, "models": models_shape(url)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(all_shapes(*sys.argv[1:3]), indent=1, sort_keys=True) + "\n")
