"""/v1/messages and /v1/messages/count_tokens: Anthropic's Messages, as vLLM answers them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from standins.worker import chat
from standins.worker.answers import END, Answer
from standins.worker.desk import Desk, answer_json
from standins.worker.jobs import Body, Frame, Job, Limits
from standins.worker.manners import MESSAGE, Speech
from standins.worker.refusals import Refusal, bad_field
from standins.worker.server import Exchange

PATHS = ("/v1/messages", "/v1/messages/count_tokens")


async def answer(desk: Desk, exchange: Exchange) -> None:
    body = desk.body(exchange)
    job = read(body, desk.limits, identity=desk.identity(exchange), created=desk.now())
    await desk.engine.run(exchange, job, Speech(whole, frames, aborted, MESSAGE))


async def count_tokens(desk: Desk, exchange: Exchange) -> None:
    body = desk.body(exchange) | {"max_tokens": 1, "stream": False}
    job = read(body, desk.limits, identity="count", created=0)
    counted = {"original_input_tokens": job.prompt_tokens}
    shown = {"input_tokens": job.prompt_tokens, "context_management": counted}
    await answer_json(exchange, shown)


def error_body(refusal: Refusal) -> Body:
    """vLLM's Anthropic error; what its schema check refuses keeps OpenAI's shape here too."""
    if refusal.kind == "Bad Request":
        return refusal.body()
    return {"type": "error", "error": {"type": refusal.kind, "message": refusal.message}}


def read(body: Body, limits: Limits, *, identity: str, created: int) -> Job:
    """The job; raises ``Refusal`` as vLLM would. It is a chat job, as it is for vLLM."""
    for name in ("model", "messages", "max_tokens"):
        if body.get(name) is None:
            raise bad_field("missing", name, "Field required", body)
    if isinstance(body["max_tokens"], int) and body["max_tokens"] <= 0:
        wrong = "Value error, max_tokens must be positive"
        raise bad_field("value_error", "max_tokens", wrong, body["max_tokens"])
    asked: Body = {name: body[name] for name in _SAME if name in body}
    said = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    given = body["messages"]
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise bad_field("list_type", "messages", "Input should be a valid list", given)
    asked["messages"] = [*said, *(_flat(message) for message in given)]
    asked["max_completion_tokens"] = body["max_tokens"]  # as vLLM hands it on
    asked["stop"] = body.get("stop_sequences")
    tools = body.get("tools")
    asked["tools"] = [
        {"function": {"name": tool.get("name"), "parameters": tool.get("input_schema")}}
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict)
    ]
    asked["tool_choice"] = _tool_choice(body.get("tool_choice"))
    return chat.read(asked, limits, identity=identity, created=created)


def whole(job: Job) -> Body:
    answer_ = job.choices[0].answer
    reason, sequence = _stop(answer_)
    shown: Body = {
        "id": job.identity,
        "type": "message",
        "role": "assistant",
        "content": [_block(job, answer_)],
        "model": job.model,
        "usage": _usage(job, job.completion_tokens),
    }
    if reason is not None:
        shown["stop_reason"] = reason
    if sequence is not None:
        shown["stop_sequence"] = sequence
    return shown


def frames(job: Job) -> Iterator[Frame]:
    """The start, one delta a token, the end with its reason and usage."""
    answer_ = job.choices[0].answer
    yield Frame({"type": "message_start", "message": _start(job)})
    if answer_.text:
        empty = _block(job, replace(answer_, pieces=()))
        yield Frame({"type": "content_block_start", "content_block": empty, "index": 0}, tokens=1)
    tokens = 0  # the first token's time passed before its block was opened
    for piece in answer_.pieces:
        if piece != END:
            delta = {"type": "text_delta", "text": piece}
            if answer_.tool_name:
                delta = {"type": "input_json_delta", "partial_json": piece}
            yield Frame({"type": "content_block_delta", "delta": delta, "index": 0}, tokens)
            tokens = 1
    tokens = 1 if END in answer_.pieces else 0
    for event in aborted(job, {}):
        yield Frame(event, tokens)
        tokens = 0


def aborted(job: Job, last: Body) -> Iterable[Body]:
    """What ends a message, whether or not it came to its own end."""
    answer_ = job.choices[0].answer
    if answer_.text:
        yield {"type": "content_block_stop", "index": 0}
    reason, sequence = _stop(answer_)
    usage = _usage(job, job.completion_tokens)
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    yield {"type": "message_delta", "delta": delta, "usage": usage}


def _start(job: Job) -> Body:
    return {
        "id": job.identity,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": job.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(job, 0),
    }


def _block(job: Job, answer_: Answer) -> Body:
    if not answer_.tool_name:
        return {"type": "text", "text": answer_.text}
    name = f"chatcmpl-tool-{job.identity[-8:]}"
    try:
        arguments = json.loads(answer_.text or "{}")
    except ValueError:  # given up in the middle of them
        arguments = {}
    return {"type": "tool_use", "id": name, "name": answer_.tool_name, "input": arguments}


def _usage(job: Job, made: int) -> Body:
    return {"input_tokens": job.prompt_tokens, "output_tokens": made}


def _stop(answer_: Answer) -> tuple[str | None, str | None]:
    if answer_.finish_reason == "length":
        return "max_tokens", None
    if answer_.finish_reason not in ("stop", "tool_calls"):
        return None, None
    if answer_.tool_name:
        return "tool_use", None
    if answer_.stop_reason is not None:
        return "stop_sequence", answer_.stop_reason
    return "end_turn", None


def _flat(message: Body) -> Body:
    """A message whose blocks are texts; the results of tools are text too."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    texts: list[Body] = []
    for block in content:
        inner = block.get("content") if isinstance(block, dict) else None
        if isinstance(inner, list):
            texts += [part for part in inner if isinstance(part, dict)]
        elif isinstance(inner, str):
            texts.append({"text": inner})
        elif isinstance(block, dict):
            texts.append(block)
    return message | {"content": texts}


def _tool_choice(wanted: object) -> object:
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "tool":
        return {"type": "function", "function": {"name": wanted.get("name")}}
    return "required" if wanted.get("type") == "any" else None


# Fields that mean here what they mean for chat.
_SAME = ("temperature", "top_p", "stream", "ignore_eos", "min_tokens")
