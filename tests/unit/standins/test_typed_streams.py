"""Streams of typed events say what the whole answer says, and stop where they are stopped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standins.worker import messages, responses
from standins.worker.jobs import Job, Limits
from standins.worker.refusals import Refusal

LIMITS = Limits("m", 512)
SAID = [{"role": "user", "content": "Which node?"}]
TOOL = {"type": "function", "name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}}


def response(**body: Any) -> Job:
    asked = {"input": "Which node?", **body}
    return responses.read(asked, LIMITS, identity="1", created=0)


def message(**body: Any) -> Job:
    asked = {"model": "m", "messages": SAID, "max_tokens": 50, **body}
    return messages.read(asked, LIMITS, identity="1", created=0)


@given(st.integers(1, 60))
def test_a_responses_events_are_its_whole(tokens: int) -> None:
    job = response(max_output_tokens=tokens)
    frames = list(responses.frames(job))
    events = [frame.payload for frame in frames]
    deltas = [one["delta"] for one in events if one["type"] == "response.output_text.delta"]
    (done,) = [one for one in events if one["type"] == "response.output_item.done"]
    whole = responses.whole(job)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    assert sum(frame.tokens for frame in frames) == whole["usage"]["output_tokens"]
    assert events[-1]["response"] == whole
    assert whole["output"] == [done["item"]]
    assert "".join(deltas) == whole["output"][0]["content"][0]["text"]


@given(st.integers(0, 40))
def test_an_aborted_response_goes_on_where_it_stopped(after: int) -> None:
    job = response(max_output_tokens=40)
    sent: list[dict[str, Any]] = []
    tokens = 0
    for frame in responses.frames(job):
        tokens += frame.tokens
        if tokens > after:
            break
        sent.append(frame.payload)
    sent += responses.aborted(job.aborted(after), sent[-1])
    assert [one["sequence_number"] for one in sent] == list(range(len(sent)))
    said = "".join(one["delta"] for one in sent if one["type"] == "response.output_text.delta")
    assert "".join(job.choices[0].answer.pieces[:after]) == said
    assert sent[-1]["response"]["usage"]["output_tokens"] == after


@given(st.integers(1, 60))
def test_a_messages_events_are_its_whole(tokens: int) -> None:
    job = message(max_tokens=tokens)
    frames = list(messages.frames(job))
    events = [frame.payload for frame in frames]
    deltas = [one["delta"]["text"] for one in events if one["type"] == "content_block_delta"]
    whole = messages.whole(job)
    assert "".join(deltas) == whole["content"][0]["text"]
    assert sum(frame.tokens for frame in frames) == whole["usage"]["output_tokens"]
    assert events[-1]["usage"] == whole["usage"]
    assert events[-1]["delta"]["stop_reason"] == whole["stop_reason"]


def test_a_tool_is_called_in_both_manners() -> None:
    job = response(tools=[TOOL], tool_choice="required")
    (call,) = responses.whole(job)["output"]
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "f", '{"x": 1}')
    tool = {"name": "f", "input_schema": TOOL["parameters"]}
    used = messages.whole(message(tools=[tool], tool_choice={"type": "any"}))
    assert used["content"][0]["input"] == {"x": 1}
    assert used["stop_reason"] == "tool_use"


def test_a_stop_sequence_is_told() -> None:
    whole = messages.whole(message(stop_sequences=["stand-in"]))
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "stand-in")


@pytest.mark.parametrize(
    "body",
    [
        {"input": None},
        {"input": 3},
        {"prompt": {"id": "p"}},
        {"max_output_tokens": 513},
        {"max_output_tokens": 0},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "name": "g"}},
        {"temperature": 3},
    ],
    ids=str,
)
def test_a_bad_response_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        response(**body)


@pytest.mark.parametrize(
    "body",
    [{"model": None}, {"messages": "x"}, {"max_tokens": 0}, {"max_tokens": 513}, {"top_p": 7}],
    ids=str,
)
def test_a_bad_message_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        message(**body)
