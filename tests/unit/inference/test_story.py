"""Answers that several workers write: which may be, what the next one is asked, and that the text
is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.routes import CHAT, find
from inference.sse import Phase
from inference.story import Chapter, Story, story_of
from tests.unit.inference import sse

MESSAGES = [{"role": "user", "content": "Hi"}]
COMPLETIONS = find(b"/v1/completions")
COUNTS = {"prompt_tokens": 7, "completion_tokens": 1}


def story(**fields: Any) -> Story | None:
    body = {"model": "m", "messages": MESSAGES, "stream": True, **fields}
    return story_of(json.dumps(body).encode(), CHAT)


def must(**fields: Any) -> Story:
    found = story(**fields)
    assert found is not None
    return found


def heard(of: Story, *events: bytes) -> bytes:
    """A worker of it says this, and dies."""
    chapter = Chapter(of)
    shown = b"".join(chapter.feed(event) for event in events)
    if chapter.phase is not Phase.DONE:
        chapter.close()
        of.over(chapter)
    return shown


def word(text: str, made: int, prompt: int = 7, **more: object) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    return sse.chunk({"content": text}, None, usage=usage, **more)


def asked(of: Story) -> Any:
    body = of.next_body()
    return None if body is None else json.loads(body)


def texts(shown: bytes) -> str:
    events = [json.loads(event[6:]) for event in shown.split(b"\n\n") if event[6:7] == b"{"]
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", ()))


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"logprobs": True},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a"}},
        {"stream": False},
        {"stream": 1},
        {"max_tokens": "many"},
        {"add_generation_prompt": False},
        {"continue_final_message": True, "add_generation_prompt": False},
    ],
)
def test_only_one_answer_in_plain_text_is_gone_on_with(fields: dict[str, Any]) -> None:
    assert story(**fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "none"},
        {"n": 1, "logprobs": False},
        {"response_format": {"type": "text"}},
        {"stream_options": None, "max_tokens": None},
    ],
)
def test_what_asks_for_nothing_more_does_not_keep_it_from_it(fields: dict[str, Any]) -> None:
    assert story(**fields) is not None


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/responses", b"/v1/embeddings"])
def test_other_routes_know_no_such_thing(path: bytes) -> None:
    route = find(path)
    assert route is not None
    assert (
        story_of(json.dumps({"model": "m", "stream": True, "prompt": "x"}).encode(), route) is None
    )


@pytest.mark.feature("A12")
def test_the_next_worker_is_given_the_text_and_what_tokens_are_left() -> None:
    of = must(max_tokens=10, min_tokens=1)
    heard(of, sse.ROLE, word("Hello", 1), word(" wör", 2))
    body = asked(of)
    assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": "Hello wör"}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["max_tokens"], body["min_tokens"]) == (8, 0)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_a_message_that_the_client_began_is_gone_on_with() -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "Say:"}]
    of = must(messages=begun, continue_final_message=True, add_generation_prompt=False)
    heard(of, word(" hello", 1))
    assert asked(of)["messages"] == [*MESSAGES, {"role": "assistant", "content": "Say: hello"}]


@pytest.mark.feature("A12")
def test_a_completion_is_a_longer_prompt_and_has_its_usual_length() -> None:
    assert COMPLETIONS is not None
    of = story_of(b'{"model":"m","prompt":"Once","stream":true}', COMPLETIONS)
    assert of is not None
    heard(of, sse.event({"id": "c", "choices": [{"index": 0, "text": " upon"}], "usage": COUNTS}))
    assert (asked(of)["prompt"], asked(of)["max_tokens"]) == ("Once upon", 15)


@pytest.mark.parametrize(
    "said",
    [
        sse.chunk({"reasoning_content": "hm"}),
        sse.chunk({"tool_calls": [{"index": 0}]}),
        sse.event({"id": "c", "choices": [{"index": 1, "delta": {"content": "b"}}]}),
    ],
)
def test_what_is_no_text_cannot_be_gone_on_with(said: bytes) -> None:
    of = must()
    assert heard(of, sse.HELLO, said)
    assert asked(of) is None


def test_an_answer_as_long_as_it_may_be_is_not_gone_on_with() -> None:
    of = must(max_tokens=1)
    heard(of, word("Hello", 1))
    assert asked(of) is None


@pytest.mark.feature("A12")
def test_the_client_sees_one_answer_with_one_name_one_speaker_and_one_count() -> None:
    of = must(stream_options={"include_usage": True})
    first = heard(of, sse.ROLE, word("Hello", 1))
    again = sse.chunk({"role": "assistant", "content": ""}).replace(b'"c"', b'"other"')
    rest = heard(
        of,
        again,
        sse.chunk({"role": "assistant", "content": " world"}).replace(b'"c"', b'"other"'),
        sse.STOP,
        sse.usage(8, 2),
        sse.DONE,
    )
    assert (texts(first + rest), rest.count(b"role"), rest.count(b"other")) == ("Hello world", 0, 0)
    total = json.loads(rest.split(b"\n\n")[-3][6:])["usage"]
    assert total == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert rest.count(b"usage") == 1
    assert rest.endswith(sse.DONE)


def test_usage_that_was_not_asked_for_is_not_shown() -> None:
    of = must()
    shown = heard(of, sse.ROLE, word("Hello", 1)) + heard(of, word("!", 1), sse.STOP, sse.usage())
    assert b"usage" not in shown
    assert texts(shown) == "Hello!"


@pytest.mark.feature("A12")
def test_an_answer_that_lost_only_its_last_word_is_ended_by_us() -> None:
    of = must(stream_options={"include_usage": True})
    heard(of, sse.ROLE, word("Hello", 1), sse.chunk({}, "stop", usage=COUNTS))
    ending = of.ending()
    assert asked(of) is None
    assert ending is not None
    assert b'"total_tokens":8' in ending
    assert ending.endswith(sse.DONE)


def test_where_its_count_is_not_known_it_is_not() -> None:
    of = must(stream_options={"include_usage": True})
    heard(of, sse.HELLO, sse.STOP)
    assert of.ending() is None


@pytest.mark.feature("A12")
def test_cut_at_every_byte_no_text_is_lost_or_said_twice() -> None:
    """The next worker says what the first one's client does not have."""
    whole = sse.ROLE + word("Hello", 1) + word(" wörld", 2) + word(", bye", 3) + sse.STOP
    full = "Hello wörld, bye"
    for cut in range(len(whole)):
        of = must()
        shown = heard(of, whole[:cut])
        body = asked(of)
        if body is None:  # it had its finish reason
            assert (of.ending(), texts(shown)) == (sse.DONE, full)
            continue
        said = body["messages"][-1]["content"]
        rest = heard(of, sse.ROLE, word(full[len(said) :], 1), sse.STOP, sse.DONE)
        assert texts(shown + rest) == full, cut
        assert rest.endswith(sse.DONE), cut


@pytest.mark.parametrize("bad", [b"data: {nonsense\n\n", sse.event({"choices": [{"delta": "x"}]})])
def test_what_cannot_be_read_breaks_it(bad: bytes) -> None:
    of = must()
    chapter = Chapter(of)
    chapter.feed(sse.HELLO + bad)
    assert chapter.phase is Phase.BROKEN
