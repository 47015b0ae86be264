"""Requests that the stand-in reads or refuses, and the frames it makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standins.worker import chat, completions
from standins.worker.jobs import Job, Limits
from standins.worker.refusals import Refusal

LIMITS = Limits("m", 512)
MESSAGES = [{"role": "user", "content": "Which node?"}]
BAD: list[dict[str, Any]] = [
    {"messages": None},
    {"messages": "hi"},
    {"messages": [3]},
    {"n": 0},
    {"n": 1000},
    {"max_tokens": "many"},
    {"max_tokens": True},
    {"max_tokens": 513},
    {"max_completion_tokens": -1},
    {"min_tokens": -1},
    {"top_p": 2},
    {"temperature": "hot"},
    {"stop": 7},
    {"stop": [7]},
    {"stream_options": {"include_usage": True}},
    {"tools": [], "tool_choice": {"type": "function", "function": {"name": "f"}}},
]


def job(**changed: Any) -> Job:
    return chat.read({"messages": MESSAGES, **changed}, LIMITS, identity="1", created=0)


@pytest.mark.parametrize("changed", BAD, ids=str)
def test_a_bad_request_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        job(**changed)
    assert refused.value.status == 400


@given(st.integers(1, 60), st.integers(1, 4))
def test_frames_say_what_the_whole_says(tokens: int, n: int) -> None:
    asked = job(max_tokens=tokens, n=n, stream=True, stream_options={"include_usage": True})
    frames = [frame.payload for frame in chat.frames(asked)]
    texts = dict.fromkeys(range(n), "")
    for choice in (choice for frame in frames for choice in frame["choices"]):
        texts[choice["index"]] += choice["delta"].get("content") or ""
    whole = chat.whole(asked)
    assert texts == {row["index"]: row["message"]["content"] for row in whole["choices"]}
    assert frames[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


@given(st.integers(1, 60), st.booleans())
def test_completion_frames_say_what_the_whole_says(tokens: int, echo: bool) -> None:
    body = {"prompt": ["one", "two"], "max_tokens": tokens, "echo": echo, "stream": True}
    asked = completions.read(body, LIMITS, identity="1", created=0)
    texts = ["", ""]
    for frame in completions.frames(asked):
        for choice in frame.payload["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [row["text"] for row in completions.whole(asked)["choices"]]


@pytest.mark.parametrize("prompt", [None, [], [[]], 7, ["a", 7], [1.5]])
def test_a_prompt_that_is_none_is_refused(prompt: object) -> None:
    with pytest.raises(Refusal):
        completions.read({"prompt": prompt}, LIMITS, identity="1", created=0)


def test_parts_of_a_message_are_read_as_its_text() -> None:
    parts = [{"type": "text", "text": "Which"}, {"type": "image_url"}, {"text": "node?"}]
    split = job(messages=[{"role": "user", "content": parts}])
    assert split.choices[0].answer == job().choices[0].answer


def test_an_answer_stays_inside_the_context() -> None:
    asked = job(ignore_eos=True)
    assert asked.prompt_tokens + asked.completion_tokens == LIMITS.max_model_len
