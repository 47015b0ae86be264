"""The shapes of a worker's answers: key by key, with the kind of each value, without the values.

    python -m tests.contract.worker.shapes URL MODEL URL MODEL URL MODEL > golden.json

records them from running workers: one for text, one for embeddings and scores, one that hears.
The committed file was recorded from real vLLM.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx

from tests.support.workers_routes import sound

MESSAGES = [{"role": "user", "content": "The brain plans where a model runs."}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, ANTHROPIC, COUNT = "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"
UNIT = {"type": "object", "properties": {"unit": {"type": "string", "enum": ["kelvin"]}}}
STRICT = {**UNIT, "required": ["unit"], "additionalProperties": False}
# Without "strict" vLLM lets a model say anything as the arguments of a tool that is forced.
FLAT_TOOL = {"type": "function", "name": "pick_unit", "strict": True, "parameters": STRICT}
CALL = {
    "tools": [FLAT_TOOL],
    "tool_choice": {"type": "function", "name": "pick_unit"},
}
# A model that says by chance what has no text gives no output at all.
ONE_TEXT = {"input": "The brain", "seed": 1}
TOOL_USE = {
    "tools": [{"name": "pick_unit", "strict": True, "input_schema": STRICT}],
    "tool_choice": {"type": "tool", "name": "pick_unit"},
}
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
    "response": (RESPONSES, {**ONE_TEXT, "max_output_tokens": 3, "ignore_eos": True}),
    "response_of_messages": (
        RESPONSES,
        {**ONE_TEXT, "input": MESSAGES, "instructions": "Be short.", "max_output_tokens": 3},
    ),
    "response_tool": (RESPONSES, {"input": "The brain", "seed": 1, **CALL}),
    "response_unknown_model": (RESPONSES, {"model": "nope", "input": "x"}),
    "response_no_input": (RESPONSES, {}),
    "response_too_hot": (RESPONSES, {"input": "x", "temperature": 9}),
    "response_long_prompt": (RESPONSES, {"input": "brain plan " * 2500}),
    "response_too_many_tokens": (RESPONSES, {"input": "x", "max_output_tokens": 100_000}),
    "response_after_none": (RESPONSES, {"input": "x", "previous_response_id": "resp_none"}),
    "response_in_background": (RESPONSES, {"input": "x", "background": True}),
    "response_tool_of_none": (RESPONSES, {"input": "x", "tool_choice": "required"}),
    "message": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 3}),
    "message_tool": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 200, **TOOL_USE}),
    "message_unknown_model": (ANTHROPIC, {"model": "no", "messages": MESSAGES, "max_tokens": 3}),
    "message_no_max_tokens": (ANTHROPIC, {"messages": MESSAGES}),
    "message_no_tokens": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 0}),
    "message_too_hot": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 3, "temperature": 9}),
    "message_too_many_tokens": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 100_000}),
    "count": (COUNT, {"messages": MESSAGES, "system": "Be short."}),
    "count_unknown_model": (COUNT, {"model": "nope", "messages": MESSAGES}),
}
PAIRS = {"text_1": "The brain", "text_2": ["A node", "The brain plans"]}
RANKED = {"query": "The brain", "documents": ["A node", "The brain plans", "A model"]}
POOLED: dict[str, tuple[str, dict[str, Any]]] = {
    "score": ("/score", PAIRS),
    "score_v1": ("/v1/score", {"queries": ["a", "b"], "documents": ["c", "d"]}),
    "score_uneven": ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]}),
    "score_of_none": ("/v1/score", {"text_1": "a", "text_2": []}),
    "rank": ("/rerank", RANKED),
    "rank_v1": ("/v1/rerank", {**RANKED, "top_n": 1}),
    "rank_v2": ("/v2/rerank", RANKED),
    "rank_nothing": ("/v2/rerank", {"query": "x"}),
    "rank_unknown_model": ("/v2/rerank", {"model": "nope", **RANKED}),
    "rank_wrong_top": ("/v2/rerank", {**RANKED, "top_n": -1}),
    "score_nothing": ("/score", {}),
    "score_unknown_model": ("/score", {"model": "nope", **PAIRS}),
    "pool": ("/pooling", {"input": "The brain"}),
    "embed": ("/v1/embeddings", {"input": "The brain"}),
    "embed_unknown_model": ("/v1/embeddings", {"model": "nope", "input": "x"}),
}
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "response": (RESPONSES, {**ONE_TEXT, "max_output_tokens": 6, "ignore_eos": True}),
    "response_tool": (RESPONSES, {"input": "The brain", "seed": 1, **CALL}),
    "message": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 6}),
    "message_tool": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 200, **TOOL_USE}),
}
STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": MESSAGES}),
    "completion": (COMPLETIONS, {"prompt": "The brain"}),
}
ASKED_MAX, EMPTY_EVENTS = 5, 3  # its beginning, its usage and its end
HEAR, TRANSLATE = "/v1/audio/transcriptions", "/v1/audio/translations"
SHORT = {"max_completion_tokens": "8", "temperature": "0", "language": "en"}
HEARD: dict[str, tuple[str, dict[str, str]]] = {
    "transcription": (HEAR, SHORT),
    "text": (HEAR, {**SHORT, "response_format": "text"}),
    "verbose": (HEAR, {**SHORT, "response_format": "verbose_json"}),
    "translation": (TRANSLATE, SHORT),
    "translation_verbose": (TRANSLATE, {**SHORT, "response_format": "verbose_json"}),
    "unknown_model": (HEAR, {"model": "nope"}),
    "subtitles": (HEAR, {"response_format": "srt"}),
    "unknown_format": (HEAR, {"response_format": "song"}),
    "speakers": (HEAR, {"response_format": "diarized_json"}),
    "verbose_stream": (HEAR, {"response_format": "verbose_json", "stream": "true"}),
    "usage_without_stream": (HEAR, {"stream_include_usage": "true"}),
    "no_sound": (HEAR, {"file": "no sound"}),
    "no_file": (HEAR, {"file": ""}),
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
    path, body = (ASKED | POOLED)[name]
    return _facts(httpx.post(f"{url}{path}", json={"model": model, **body}, timeout=60))


def _facts(answer: httpx.Response) -> Any:
    content = answer.json()
    facts = {"status": answer.status_code, "body": shape(content)}
    if content.get("error"):
        told = content["error"]
        facts["error"] = {key: told[key] for key in ("type", "param", "code") if key in told}
    return facts


def stored_shapes(url: str) -> Any:
    """What a response that is not there is answered with: read, and cancelled."""
    path = f"{url}{RESPONSES}/resp_none"
    return {
        "read": _facts(httpx.get(path, timeout=60)),
        "cancelled": _facts(httpx.post(f"{path}/cancel", timeout=60)),
    }


def event_shapes(url: str, model: str, name: str) -> Any:
    """The kinds of a stream's events in their order, one after another counted once, and the
    shape of the first of each kind. A model that chances to say nothing at all is asked again."""
    for _ in range(ASKED_MAX):
        found = _events(url, model, name)
        if len(found["order"]) > EMPTY_EVENTS:
            break
    return found


def _events(url: str, model: str, name: str) -> Any:
    path, body = EVENTS[name]
    asked = {"model": model, **body, "stream": True}
    answer = httpx.post(f"{url}{path}", json=asked, timeout=60)
    order: list[str] = []
    shapes: dict[str, Any] = {}
    for block in answer.text.strip().split("\n\n"):
        named, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        kind = named.removeprefix("event: ")
        assert kind == event["type"]
        if order[-1:] != [kind]:
            order.append(kind)
        shapes.setdefault(kind, shape(event))
    kind = answer.headers["content-type"]
    return {"status": answer.status_code, "type": kind, "order": order, "events": shapes}


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


def heard_shape(url: str, model: str, name: str) -> Any:
    """The same of what a worker says to a second of silence, or to a file that is none."""
    path, given = HEARD[name]
    fields = dict(given)
    content = fields.pop("file", None)
    files = {"file": ("a.wav", sound() if content is None else content.encode(), "audio/wav")}
    if content == "":
        files = {"other": files["file"]}
    asked = {"model": model, **fields}
    facts = _facts(httpx.post(f"{url}{path}", data=asked, files=files, timeout=60))
    for segment in facts["body"].get("segments", []):
        del segment["tokens"]  # a random model's may have none
    return facts


def heard_stream_shape(url: str, model: str, path: str) -> Any:
    """The shapes of a streamed transcription's first, last and usage chunks, and its end."""
    asked = {**SHORT, "model": model, "stream": "true", "stream_include_usage": "true"}
    files = {"file": ("a.wav", sound(), "audio/wav")}
    answer = httpx.post(f"{url}{path}", data=asked, files=files, timeout=60)
    events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    return {
        "type": answer.headers["content-type"],
        "object": chunks[0]["object"],
        "first": shape(chunks[0]),
        "last": shape(chunks[-2]),
        "usage": shape(chunks[-1]),
        "end": events[-1],
    }


def models_shape(url: str) -> Any:
    return shape(httpx.get(f"{url}/v1/models", timeout=60).json())


def all_shapes(
    url: str, model: str, pooling_url: str, pooling_model: str, ear_url: str, ear_model: str
) -> dict[str, Any]:
    plain = {name: answer_shape(url, model, name) for name in ASKED}
    streams = {
        f"{name}{'_usage' if usage else ''}": stream_shape(url, model, name, usage=usage)
        for name in STREAMED
        for usage in (False, True)
    }
    return {
        "plain": plain,
        "streams": streams,
        "models": models_shape(url),
        "events": {name: event_shapes(url, model, name) for name in EVENTS},
        "stored": stored_shapes(url),
        "pooled": {name: answer_shape(pooling_url, pooling_model, name) for name in POOLED},
        "heard": {name: heard_shape(ear_url, ear_model, name) for name in HEARD},
        "heard_streams": {
            path: heard_stream_shape(ear_url, ear_model, path) for path in (HEAR, TRANSLATE)
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(all_shapes(*sys.argv[1:7]), indent=1, sort_keys=True) + "\n")
