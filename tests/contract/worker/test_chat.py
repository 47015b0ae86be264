"""What any worker does for the official client on the chat route."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.support.wait import until
from tests.support.workers import CONTEXT, Worker

MESSAGES: Any = [{"role": "user", "content": "Which node runs the model?"}]
UNITS = {
    "type": "object",
    "properties": {"unit": {"type": "string", "enum": ["celsius", "kelvin"]}},
    "required": ["unit"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "pick_unit", "strict": True, "parameters": UNITS},
}
FORCED: Any = {"type": "function", "function": {"name": "pick_unit"}}


def test_usage_adds_up(worker: Worker) -> None:
    answer = worker.client.chat.completions.create(
        model=worker.model, messages=MESSAGES, max_tokens=7, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7
    assert answer.choices[0].finish_reason == "length"


def test_the_same_prompt_costs_the_same_prompt_tokens_streamed(worker: Worker) -> None:
    asked: Any = {"model": worker.model, "messages": MESSAGES, "max_tokens": 3}
    plain = worker.client.chat.completions.create(**asked)
    stream = worker.client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage.prompt_tokens == plain.usage.prompt_tokens


def test_a_stream_says_its_role_first_and_its_finish_once(worker: Worker) -> None:
    stream = worker.client.chat.completions.create(
        model=worker.model,
        messages=MESSAGES,
        max_tokens=9,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    choices = [chunk.choices[0] for chunk in stream]
    assert choices[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    assert choices[-1].finish_reason == "length"


def test_running_usage_never_falls(worker: Worker) -> None:
    stream = worker.client.chat.completions.create(
        model=worker.model,
        messages=MESSAGES,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},  # type: ignore[typeddict-unknown-key]
        extra_body={"ignore_eos": True},
    )
    seen = [chunk.usage.completion_tokens for chunk in stream if chunk.usage]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 12)


def test_each_choice_of_a_stream_ends(worker: Worker) -> None:
    stream = worker.client.chat.completions.create(
        model=worker.model, messages=MESSAGES, max_tokens=4, n=3, stream=True
    )
    ends = [choice.index for chunk in stream for choice in chunk.choices if choice.finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_a_schema_is_kept(worker: Worker) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "unit", "schema": UNITS}}
    answer = worker.client.chat.completions.create(
        model=worker.model, messages=MESSAGES, response_format=wanted, seed=1, max_tokens=200
    )
    assert json.loads(answer.choices[0].message.content or "")["unit"] in ("celsius", "kelvin")


def test_a_forced_tool_is_called(worker: Worker) -> None:
    answer = worker.client.chat.completions.create(
        model=worker.model,
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice=FORCED,
        seed=1,
        max_tokens=200,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "pick_unit"
    assert json.loads(call.function.arguments)["unit"] in ("celsius", "kelvin")


def test_a_streamed_tool_call_is_named_once_and_its_arguments_follow(worker: Worker) -> None:
    stream = worker.client.chat.completions.create(
        model=worker.model,
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice=FORCED,
        seed=1,
        max_tokens=200,
        stream=True,
    )
    deltas = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert [call.function.name for call in deltas if call.function.name] == ["pick_unit"]
    assert "unit" in json.loads("".join(call.function.arguments or "" for call in deltas))


def test_unknown_fields_are_let_pass(worker: Worker) -> None:
    answer = worker.client.chat.completions.create(
        model=worker.model, messages=MESSAGES, max_tokens=1, extra_body={"sparkle": 3}
    )
    assert answer.choices


def test_logprobs_come_for_each_token(worker: Worker) -> None:
    answer = worker.client.chat.completions.create(
        model=worker.model,
        messages=MESSAGES,
        max_tokens=4,
        logprobs=True,
        top_logprobs=2,
        extra_body={"ignore_eos": True},
    )
    scores = answer.choices[0].logprobs
    assert scores is not None
    assert len(scores.content or []) == 4
    assert all(len(score.top_logprobs) >= 2 for score in scores.content or [])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"model": "nope"}, openai.NotFoundError),
        ({"max_tokens": 0}, openai.BadRequestError),
        ({"max_tokens": CONTEXT + 1}, openai.BadRequestError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"stream": True, "temperature": 9}, openai.BadRequestError),
    ],
)
def test_a_bad_request_raises_the_clients_own_class(
    worker: Worker, changed: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind):
        worker.client.chat.completions.create(
            **{"model": worker.model, "messages": MESSAGES, **changed}
        )


async def tokens_made_for_a_client_that_left(worker: Worker, longest: int) -> float:
    before = worker.gauge("generation_tokens_total")
    body = {"model": worker.model, "messages": MESSAGES, "max_tokens": longest, "n": 4}
    body |= {"stream": True, "ignore_eos": True}
    # The head comes before the first token; a tiny model's tokens then come in bursts.
    url = f"{worker.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as answer:
        assert answer.status_code == 200
    await until(lambda: worker.gauge("num_requests_running") == 0, 60)
    return worker.gauge("generation_tokens_total") - before


async def test_a_hang_up_stops_the_work(worker: Worker) -> None:
    longest = CONTEXT - 60
    # On a busy machine a tiny model may be done before its client gets to leave: try again.
    tries = [await tokens_made_for_a_client_that_left(worker, longest) for _ in range(3)]
    assert min(tries) < 3 * longest


async def test_the_counters_grow_by_the_usage(worker: Worker) -> None:
    before = worker.gauge("prompt_tokens_total"), worker.gauge("generation_tokens_total")
    answer = worker.client.chat.completions.create(
        model=worker.model, messages=MESSAGES, max_tokens=5, extra_body={"ignore_eos": True}
    )
    prompt = answer.usage.prompt_tokens if answer.usage else 0
    await until(lambda: worker.gauge("generation_tokens_total") - before[1] == 5)
    assert worker.gauge("prompt_tokens_total") - before[0] == prompt
