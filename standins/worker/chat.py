"""/v1/chat/completions: reads the request and renders the answer, whole or in frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from standins.worker import answers, jobs
from standins.worker.answers import Answer
from standins.worker.desk import Desk
from standins.worker.jobs import Body, Choice, Frame, Job, Limits
from standins.worker.manners import CHOICES, Speech, choices_aborted
from standins.worker.refusals import Refusal, bad_field
from standins.worker.server import Exchange

MESSAGE_TOKENS = 3  # a chat template's marks around each message


async def answer(desk: Desk, exchange: Exchange) -> None:
    body = desk.body(exchange)
    job = read(body, desk.limits, identity=desk.identity(exchange), created=desk.now())
    await desk.engine.run(exchange, job, Speech(whole, frames, choices_aborted, CHOICES))


def read(body: Body, limits: Limits, *, identity: str, created: int) -> Job:
    """The job; raises ``Refusal`` as vLLM would."""
    messages = body.get("messages")
    if messages is None:
        raise bad_field("missing", "messages", "Field required", body)
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise bad_field("list_type", "messages", "Input should be a valid list", messages)
    jobs.check_sampling(body)
    stream, include_usage, continuous = jobs.stream_wishes(body)
    said = _said(body, messages)
    prompt = "\n".join(_text(message) for message in messages)
    prompt_tokens = answers.count(prompt) + MESSAGE_TOKENS * len(messages)
    if said is not None:
        prompt = "\n".join(_text(message) for message in messages[:-1])
    wish = jobs.wish(body, prompt_tokens, limits, default_tokens=limits.max_model_len)
    choices = tuple(
        Choice(index, prompt, prompt_tokens, _answer(body, prompt, wish, index, said))
        for index in range(jobs.choices_asked(body))
    )
    top = jobs.top_asked(body.get("top_logprobs"))
    return Job(
        identity=f"chatcmpl-{identity}",
        created=created,
        model=limits.model,
        choices=choices,
        prompt_tokens=prompt_tokens,
        stream=stream,
        include_usage=include_usage,
        continuous_usage=continuous,
        logprobs=top if body.get("logprobs") is True else None,
    )


def whole(job: Job) -> Body:
    return {
        "id": job.identity,
        "object": "chat.completion",
        "created": job.created,
        "model": job.model,
        "choices": [_whole_choice(job, choice) for choice in job.choices],
        "service_tier": None,
        "system_fingerprint": jobs.FINGERPRINT,
        "usage": jobs.usage(job.prompt_tokens, job.completion_tokens, whole=True),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def frames(job: Job) -> Iterator[Frame]:
    return jobs.signed(_frames(job))


def _frames(job: Job) -> Iterator[Frame]:
    """Role frames, one frame a token in turn for each choice, then usage where asked."""
    for choice in job.choices:
        opening: Body = {
            "index": choice.index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        extra = {"prompt_token_ids": None, "prompt_text": None}
        yield Frame(_chunk(job, choice, opening, 0) | extra)
    for choice in job.choices:
        if choice.answer.tool_name:
            naming = _delta(choice, _tool_opening(choice), None, False)
            yield Frame(_chunk(job, choice, naming, 0))
    for place in range(max(len(choice.answer.pieces) for choice in job.choices)):
        for choice in job.choices:
            if place < len(choice.answer.pieces):
                yield _token_frame(job, choice, place)
    for choice in job.choices:
        if not choice.answer.pieces:
            yield Frame(_chunk(job, choice, _delta(choice, {"content": ""}, None, True), 0))
    if job.include_usage:
        counts = jobs.usage(job.prompt_tokens, job.completion_tokens, whole=False)
        yield Frame(_head(job) | {"choices": [], "usage": counts})


def _token_frame(job: Job, choice: Choice, place: int) -> Frame:
    answer, piece = choice.answer, choice.answer.pieces[place]
    delta: Body = {"content": piece}
    if answer.tool_name:
        delta = {"content": None, "tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    scores = None if job.logprobs is None else {"content": [_score(job, choice, place)]}
    last = place == len(answer.pieces) - 1
    return Frame(_chunk(job, choice, _delta(choice, delta, scores, last), place + 1), tokens=1)


def _delta(choice: Choice, delta: Body, scores: Body | None, last: bool) -> Body:
    shown: Body = {
        "index": choice.index,
        "delta": delta,
        "logprobs": scores,
        "finish_reason": choice.answer.finish_reason if last else None,
    }
    if last:
        shown["stop_reason"] = choice.answer.stop_reason
    return shown | {"token_ids": None}


def _chunk(job: Job, choice: Choice, shown: Body, tokens: int) -> Body:
    chunk = _head(job) | {"choices": [shown]}
    if job.continuous_usage:
        counts = jobs.usage(choice.prompt_tokens, tokens, whole=False)
        chunk["usage"] = counts | {"completion_tokens_details": None}
    return chunk


def _head(job: Job) -> Body:
    return {
        "id": job.identity,
        "object": "chat.completion.chunk",
        "created": job.created,
        "model": job.model,
    }


def _whole_choice(job: Job, choice: Choice) -> Body:
    answer = choice.answer
    message: Body = {
        "role": "assistant",
        "content": None if answer.tool_name else answer.text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    if answer.tool_name:
        message["tool_calls"] = [
            {
                "id": _tool_id(choice),
                "type": "function",
                "function": {"name": answer.tool_name, "arguments": answer.text},
            }
        ]
    scores = None
    if job.logprobs is not None:
        places = range(len(answer.pieces))
        scores = {"content": [_score(job, choice, place) for place in places]}
    return {
        "index": choice.index,
        "message": message,
        "logprobs": scores,
        "finish_reason": answer.finish_reason,
        "stop_reason": answer.stop_reason,
        "token_ids": None,
        "routed_experts": None,
    }


def _score(job: Job, choice: Choice, place: int) -> Body:
    piece = choice.answer.pieces[place]
    value = answers.logprob(choice.prompt, place)
    own: Body = {"token": piece, "logprob": value, "bytes": list(piece.encode())}
    others = [
        {"token": word, "logprob": value - step - 1, "bytes": list(word.encode())}
        for step, word in enumerate(answers.WORDS[: max(job.logprobs or 0, 1) - 1])
    ]
    return own | {"top_logprobs": [own, *others] if job.logprobs else []}


def _tool_id(choice: Choice) -> str:
    return f"chatcmpl-tool-stand-in-{choice.index}"


def _tool_opening(choice: Choice) -> Body:
    """The call's id and name come first, its arguments in the deltas that follow."""
    function = {"name": choice.answer.tool_name}
    call = {"id": _tool_id(choice), "type": "function", "index": 0, "function": function}
    return {"content": None, "tool_calls": [call]}


def _said(body: Body, messages: list[Body]) -> str | None:
    """The last message, where the answer is to be its continuation."""
    if body.get("continue_final_message") is not True:
        return None
    if body.get("add_generation_prompt", True) is True:
        message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise Refusal(message, param=None)
    return _text(messages[-1]) if messages else None


def _answer(
    body: Body, prompt: str, wish: answers.Wish, index: int, said: str | None = None
) -> Answer:
    if said is not None:
        return answers.go_on(prompt, said, wish, index)
    tool = _forced_tool(body)
    if tool is not None:
        return answers.call_tool(prompt, str(tool.get("name")), tool.get("parameters"))
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return answers.write_json(prompt, None, wish)
    if kind == "json_schema" and isinstance(wanted, dict):
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        return answers.write_json(prompt, schema or {"type": "object"}, wish)
    return answers.speak(prompt, wish, index)


def _forced_tool(body: Body) -> dict[str, Any] | None:
    """The function that ``tool_choice`` forces; never one that it leaves to the model."""
    tools = body.get("tools")
    functions: list[Body] = [
        tool["function"]
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    wanted = body.get("tool_choice")
    if wanted == "required" and functions:
        return functions[0]
    if not isinstance(wanted, dict):
        return None
    chosen = wanted.get("function")
    name = chosen.get("name") if isinstance(chosen, dict) else None
    for function in functions:
        if function.get("name") == name:
            return function
    message = "The tool specified in `tool_choice` does not match any of the specified `tools`"
    raise Refusal(message, param="tool_choice")


def _text(message: Body) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return ""
