"""/v1/responses: OpenAI's Responses, as vLLM answers them: whole, in typed events, stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from standins.worker import chat, jobs
from standins.worker.answers import END, Answer
from standins.worker.desk import Desk, answer_json
from standins.worker.jobs import Body, Frame, Job, Limits
from standins.worker.manners import RESPONSE, Speech
from standins.worker.refusals import Refusal, bad_field
from standins.worker.server import Exchange

STORED_MAX = 1000
CALL, MESSAGE = "function_call", "message"


async def answer(desk: Desk, exchange: Exchange) -> None:
    body = desk.body(exchange)
    stores = desk.options.store_responses
    if body.get("background") and not stores:
        raise _no_store()
    before = body.get("previous_response_id")
    if before is not None and before not in desk.stored:
        raise _unknown(str(before))
    job = read(body, desk.limits, identity=desk.identity(exchange), created=desk.now())
    await desk.engine.run(exchange, job, Speech(whole, frames, aborted, RESPONSE))
    if stores and body.get("store") is not False:
        desk.stored[job.identity] = whole(job)
        for oldest in list(desk.stored)[:-STORED_MAX]:
            del desk.stored[oldest]


async def answer_stored(desk: Desk, exchange: Exchange) -> None:
    await answer_json(exchange, _stored(desk, exchange))


async def answer_cancel(desk: Desk, exchange: Exchange) -> None:
    """Always a refusal: no response is made in the background here."""
    _stored(desk, exchange)
    message = "Cannot cancel a synchronous response."
    raise Refusal(message, kind="invalid_request_error", param="response_id")


def read(body: Body, limits: Limits, *, identity: str, created: int) -> Job:
    """The job; raises ``Refusal`` as vLLM would."""
    if body.get("prompt") is not None:
        raise Refusal("prompt template is not supported (parameter=prompt)", param="prompt")
    asked: Body = {name: body[name] for name in _SAME if name in body}
    asked["messages"] = _messages(body)
    room = limits.max_model_len
    longest = jobs.whole_number(body, "max_output_tokens", room, 1, 2**31)
    if longest > room:
        raise jobs.too_many_tokens("max_output_tokens", longest, limits)
    asked["max_tokens"] = longest
    tools = body.get("tools")
    asked["tools"] = [
        {"type": "function", "function": tool}
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and tool.get("type") == "function"
    ]
    asked["tool_choice"] = _tool_choice(body, asked["tools"])
    asked["response_format"] = _format(body)
    job = chat.read(asked, limits, identity=identity, created=created)
    limit = min(longest, room - job.prompt_tokens)
    return replace(job, identity=f"resp_{identity}", asked=body | {"max_output_tokens": limit})


def whole(job: Job) -> Body:
    (choice,) = job.choices
    short = choice.answer.finish_reason == "length"
    shown = _head(job) | {
        "status": "incomplete" if short else "completed",  # also of one that was aborted
        "output": _output(job, choice.answer),
        "usage": _usage(job),
    }
    if short:
        shown["incomplete_details"] = {"reason": "max_output_tokens"}
    return shown


def frames(job: Job) -> Iterator[Frame]:
    """One event for each token between those that open and close its item."""
    for number, frame in enumerate(_events(job)):
        yield replace(frame, payload=frame.payload | {"sequence_number": number})


def aborted(job: Job, last: Body) -> Iterable[Body]:
    """What vLLM sends after an abort: the end of an answer that is complete as far as it came."""
    first = last["sequence_number"] + 1
    for number, frame in enumerate(_closing(job), first):
        yield frame.payload | {"sequence_number": number}


def _events(job: Job) -> Iterator[Frame]:
    answer_ = job.choices[0].answer
    for kind in ("response.created", "response.in_progress"):
        begun = _head(job) | {"status": "in_progress", "output": [], "usage": None}
        yield Frame({"type": kind, "response": begun})
    tokens = 1  # the first token's time passes before its item is opened
    if answer_.text:
        for event in _opening(job, answer_):
            yield Frame(event, tokens)
            tokens = 0
    for piece in answer_.pieces:
        if piece != END:
            yield Frame(_delta(job, answer_, piece), tokens)
            tokens = 1
    yield from _closing(job)


def _opening(job: Job, answer_: Answer) -> Iterator[Body]:
    item = _item(job, answer_, "in_progress", "")
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    if not answer_.tool_name:
        yield {"type": "response.content_part.added", **_place(job), "part": _part("", [])}


def _delta(job: Job, answer_: Answer, piece: str) -> Body:
    if answer_.tool_name:
        inside = {"output_index": 0, "item_id": _item_id(job, answer_)}
        return {"type": "response.function_call_arguments.delta", **inside, "delta": piece}
    text = {**_place(job), "delta": piece, "logprobs": []}
    return {"type": "response.output_text.delta", **text}


def _closing(job: Job) -> Iterator[Frame]:
    """What follows the last token that is seen; the end token takes its time here."""
    answer_ = job.choices[0].answer
    tokens = 1 if END in answer_.pieces else 0
    if answer_.text:
        for event in _done(job, answer_):
            yield Frame(event, tokens)
            tokens = 0
    yield Frame({"type": "response.completed", "response": whole(job)}, tokens)


def _done(job: Job, answer_: Answer) -> Iterator[Body]:
    text = answer_.text
    if answer_.tool_name:
        inside = {"output_index": 0, "item_id": _item_id(job, answer_)}
        named = {"name": answer_.tool_name, "arguments": text}
        yield {"type": "response.function_call_arguments.done", **inside, **named}
    else:
        said = {**_place(job), "text": text, "logprobs": []}
        yield {"type": "response.output_text.done", **said}
        yield {"type": "response.content_part.done", **_place(job), "part": _part(text, None)}
    item = _item(job, answer_, "completed", text)
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def _output(job: Job, answer_: Answer) -> list[Body]:
    return [_item(job, answer_, "completed", answer_.text)] if answer_.text else []


def _item(job: Job, answer_: Answer, status: str, text: str) -> Body:
    item: Body = {"id": _item_id(job, answer_), "status": status}
    if not answer_.tool_name:
        content = [_part(text, None)] if text else []
        kind = {"type": MESSAGE, "role": "assistant", "phase": None}
        return item | kind | {"content": content}
    return item | {
        "type": CALL,
        "call_id": f"call_stand_in_{job.identity[-8:]}",
        "name": answer_.tool_name,
        "arguments": text,
        "async": None,
        "caller": None,
        "namespace": None,
    }


def _item_id(job: Job, answer_: Answer) -> str:
    return job.identity.replace("resp_", "fc_" if answer_.tool_name else "msg_", 1)


def _place(job: Job) -> Body:
    item_id = job.identity.replace("resp_", "msg_", 1)
    return {"output_index": 0, "content_index": 0, "item_id": item_id}


def _part(text: str, scores: list[Body] | None) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": scores}


def _head(job: Job) -> Body:
    asked = job.asked
    repeated = {name: asked.get(name, default) for name, default in _REPEATED.items()}
    has_tools = bool(asked.get("tools"))
    return repeated | {
        "id": job.identity,
        "object": "response",
        "created_at": job.created,
        "model": job.model,
        "tool_choice": asked.get("tool_choice", "auto") if has_tools else "none",
        "tools": [_tool(tool) for tool in asked.get("tools") or []],
    }


def _tool(tool: Body) -> Body:
    return {
        "name": None,
        "parameters": None,
        "strict": None,
        "type": "function",
        "description": None,
        "allowed_callers": None,
        "async": None,
        "defer_loading": None,
        "output_schema": None,
    } | tool


def _usage(job: Job) -> Body:
    made = job.completion_tokens
    return {
        "input_tokens": job.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": made,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": job.prompt_tokens + made,
    }


def _messages(body: Body) -> list[Body]:
    given = body.get("input")
    if given is None:
        raise bad_field("missing", "input", "Field required", body)
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise bad_field("string_type", "input", "Input should be a valid string", given)
    said = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    for item in items:
        content = item.get("content") or item.get("output") or item.get("arguments") or ""
        said.append({"role": item.get("role", "tool"), "content": content})
    return said


def _tool_choice(body: Body, tools: list[Body]) -> object:
    wanted = body.get("tool_choice", "auto")
    if not tools and (wanted == "required" or isinstance(wanted, dict)):
        named = "required" if wanted == "required" else "function"
        rest = "must be specified with" if wanted == "required" else "not found in"
        message = f"Tool choice '{named}' {rest} 'tools' parameter. (parameter=tool_choice)"
        raise Refusal(message, param="tool_choice")
    if isinstance(wanted, dict):
        return {"type": "function", "function": {"name": wanted.get("name")}}
    return wanted


def _format(body: Body) -> object:
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}
    return wanted


def _stored(desk: Desk, exchange: Exchange) -> Body:
    name = exchange.request.path.split("/")[3]
    if name not in desk.stored:
        raise _unknown(name)
    return desk.stored[name]


def _unknown(name: str) -> Refusal:
    message = f"Response with id '{name}' not found."
    return Refusal(message, kind="invalid_request_error", status=404, param="response_id")


def _no_store() -> Refusal:
    message = (
        "This vLLM engine does not support `store=True` and therefore does not support the "
        "background mode. To enable these features, set the environment variable "
        "`VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM server."
    )
    return Refusal(message, kind="invalid_request_error", param="background")


# Fields that mean here what they mean for chat.
_SAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "stream",
    "ignore_eos",
    "min_tokens",
)
# Fields of the request that the answer repeats, with what it says for those left out.
_REPEATED: Body = {
    "incomplete_details": None,
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "input_messages": None,
    "output_messages": None,
}
