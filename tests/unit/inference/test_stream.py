"""The SSE automaton: wherever the bytes are cut, nothing incomplete looks complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.sse import Phase
from inference.stream import DONE_FRAME, SseStream, without_usage
from tests.unit.inference import sse


def run(*parts: bytes, show_usage: bool = False, close: bool = True) -> tuple[bytes, SseStream]:
    stream = SseStream(show_usage=show_usage)
    out = b"".join(stream.feed(part) for part in parts)
    if close:
        stream.close()
    return out, stream


def bytewise(content: bytes) -> list[bytes]:
    return [content[place : place + 1] for place in range(len(content))]


@pytest.mark.feature("A10")
def test_usage_that_was_not_asked_for_is_counted_but_not_shown() -> None:
    out, stream = run(sse.WHOLE)
    assert out == sse.SHOWN
    assert stream.phase is Phase.DONE
    assert stream.tokens() == (7, 3, False)


@pytest.mark.feature("A10")
def test_usage_that_was_asked_for_is_shown_byte_for_byte() -> None:
    out, _ = run(sse.WHOLE, show_usage=True)
    assert out == sse.WHOLE


@pytest.mark.feature("A12")
@given(sse.streams(), st.lists(st.integers(0, 10**6), max_size=40), st.booleans())
def test_any_cutting_of_the_bytes_gives_the_same_stream(
    stream: tuple[bytes, bytes], places: list[int], show: bool
) -> None:
    told, shown = stream
    out, automaton = run(*sse.cuts(told, places), show_usage=show)
    assert automaton.phase in (Phase.DONE, Phase.BROKEN)
    assert automaton.phase is Phase.DONE
    if not show:
        assert [line for line in out.split(b"\n\n") if not line.startswith(b":")] == [
            line for line in shown.split(b"\n\n") if not line.startswith(b":")
        ]


ODD_DATA = [
    b"[DONE]",
    b"{}",
    b'{"error":{"message":"no"}}',
    b'{"object":"error"}',
    b'{"choices":[{"index":0}],"error":{"message":"no"}}',
    b'{"choices":[{"index":0,"finish_reason":"abort"}]}',
    b'{"choices":[{"index":0}],"usage":null}',
    b'{"choices":[{"index":1,"delta":{"content":"\xff"}}]}',
    b'{"choices":[',
]


@given(sse.streams(), st.integers(0, 30), st.sampled_from(ODD_DATA))
def test_the_short_way_of_an_event_is_the_long_one(
    stream: tuple[bytes, bytes], place: int, odd: bytes
) -> None:
    """What passes goes out as it came and leaves the automaton as ``feed`` would."""
    events = [event + b"\n\n" for event in stream[0].split(b"\n\n") if event]
    events.insert(min(place, len(events)), b"data: %b\n\n" % odd)
    short, long = SseStream(show_usage=False), SseStream(show_usage=False)
    out: list[bytes] = []
    for event in events:
        data = event.startswith(b"data: ") and short.passes(event[6:-2])
        out.append(event if data else short.feed(event))
    assert b"".join(out) == b"".join(long.feed(event) for event in events)
    assert (short.phase, short.tokens(), short.error) == (long.phase, long.tokens(), long.error)


def test_byte_by_byte_is_the_same_as_at_once() -> None:
    assert run(*bytewise(sse.WHOLE))[0] == run(sse.WHOLE)[0]


@pytest.mark.feature("A12")
@pytest.mark.parametrize("whole", [sse.WHOLE, sse.WHOLE.replace(b"\n", b"\r\n")])
def test_cut_at_every_byte_never_looks_complete(whole: bytes) -> None:
    needed = whole.rindex(b"[DONE]") + len(b"[DONE]")
    for end in range(needed):
        out, stream = run(whole[:end])
        assert stream.phase is Phase.BROKEN, end
        assert b"[DONE]" not in out


@pytest.mark.feature("A12")
@given(st.integers(0, len(sse.WHOLE) - 1), st.binary(min_size=1, max_size=30))
def test_what_comes_out_is_always_a_beginning_of_the_true_stream(place: int, noise: bytes) -> None:
    out, stream = run(sse.WHOLE[:place], noise, b"\n\n")
    known = sse.SHOWN
    if stream.phase is Phase.BROKEN and not stream.reason.startswith("the stream ended"):
        assert known.startswith(out) or b"".join(out.split(noise)) in known
    assert b"[DONE]" not in out or stream.phase is Phase.DONE


@pytest.mark.feature("A12")
def test_nothing_comes_out_before_the_first_content() -> None:
    out, stream = run(sse.ROLE, sse.chunk({"content": None, "tool_calls": []}), close=False)
    assert out == b""
    assert stream.phase is Phase.HELD


def test_held_frames_come_out_with_the_first_content() -> None:
    stream = SseStream(show_usage=False)
    assert stream.feed(sse.ROLE) == b""
    assert stream.feed(sse.HELLO) == sse.ROLE + sse.HELLO


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"tool_calls": [{"index": 0}]},
        {"refusal": "no"},
    ],
)
def test_every_kind_of_content_counts_as_content(delta: dict[str, object]) -> None:
    _, stream = run(sse.chunk(delta), close=False)
    assert stream.phase is Phase.FLOWING


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    "error",
    [
        sse.event({"error": {"message": "died", "code": 500}}),
        sse.event({"object": "error", "message": "died", "code": 500}),
        sse.event({"error": "died"}),
    ],
)
def test_an_error_and_then_done_is_not_complete(error: bytes) -> None:
    out, stream = run(sse.HELLO, sse.STOP, error, sse.DONE)
    assert stream.phase is Phase.BROKEN
    assert out == sse.HELLO + sse.STOP
    assert stream.error is not None
    assert stream.error.message == "died" or "died" in stream.error.message


@pytest.mark.parametrize("error", [None, False, "", {}])
def test_an_error_field_that_says_nothing_is_no_error(error: object) -> None:
    content = sse.chunk({"content": "x"}, "stop", error=error)
    assert run(content, sse.DONE)[1].phase is Phase.DONE


@pytest.mark.feature("A12")
def test_done_without_a_finish_reason_is_not_complete() -> None:
    out, stream = run(sse.HELLO, sse.DONE)
    assert (out, stream.phase) == (sse.HELLO, Phase.BROKEN)


@pytest.mark.parametrize("before", [b"", sse.ROLE + sse.HELLO])
def test_an_answer_that_the_engine_gave_up_is_not_complete(before: bytes) -> None:
    stream = SseStream(show_usage=False)
    gone = sse.chunk({"content": ""}, "abort") + sse.usage() + sse.DONE
    out = b"".join(stream.feed(part) for part in (before, gone))
    assert stream.phase is Phase.BROKEN
    assert b"[DONE]" not in out


def test_every_choice_needs_its_finish_reason() -> None:
    second = sse.event({"choices": [{"index": 1, "delta": {"content": "x"}}]})
    assert run(sse.HELLO, second, sse.STOP, sse.DONE)[1].phase is Phase.BROKEN


@pytest.mark.parametrize(
    "garbage", [b"data: {not json\n\n", b"\x00\xff\n\n", b"data: 5\n\n", b"hello\n\n"]
)
def test_garbage_breaks_the_stream(garbage: bytes) -> None:
    out, stream = run(sse.HELLO, garbage, sse.STOP, sse.DONE)
    assert (out, stream.phase) == (sse.HELLO, Phase.BROKEN)


def test_text_that_is_not_utf8_breaks_the_stream() -> None:
    bad = sse.HELLO.replace(b"Hello", b"H\xffllo")
    assert run(bad)[1].phase is Phase.BROKEN


def test_an_event_in_full_dress_is_understood_and_passed_on() -> None:
    dressed = b"event: message\nid: 7\n" + sse.HELLO
    out, stream = run(dressed, sse.STOP, sse.DONE)
    assert out == dressed + sse.STOP + sse.DONE
    assert stream.phase is Phase.DONE


def test_an_endless_event_breaks_the_stream() -> None:
    stream = SseStream(show_usage=False)
    for _ in range(9):
        stream.feed(b"x" * (1 << 20))
    assert stream.phase is Phase.BROKEN


@pytest.mark.feature("A12")
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_is_understood_wherever_it_is_cut(line_end: bytes) -> None:
    whole = sse.WHOLE.replace(b"\n", line_end) + b": over\n\n"  # a last CR may be half of a pair
    out, stream = run(whole)
    assert (out, stream.phase) == (sse.SHOWN, Phase.DONE)
    assert run(*bytewise(whole))[0] == out
    for place in range(len(whole)):
        assert run(whole[:place], whole[place:])[0] == out


@pytest.mark.feature("A12")
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_event_goes_out_with_its_last_byte(line_end: bytes) -> None:
    event = sse.HELLO.replace(b"\n", line_end)
    for place in range(len(event)):
        assert run(event[:place], event[place:], close=False)[0] == sse.HELLO
    assert run(*bytewise(event), close=False)[0] == sse.HELLO


def test_what_came_of_a_long_event_is_not_looked_at_again() -> None:
    stream = SseStream(show_usage=False)
    head, tail = sse.HELLO.split(b"Hello")
    out = [stream.feed(head)]
    for _ in range(4096):
        out.append(stream.feed(b"x" * 1024))
        assert len(stream._rest) <= 2
    assert b"".join(out) == b""
    assert stream.feed(tail) == head + b"x" * (4096 * 1024) + tail


@pytest.mark.feature("A10")
def test_at_a_cut_tokens_are_the_last_usage_and_the_chunks_since() -> None:
    told = sse.chunk({"content": "x"}, None, usage={"prompt_tokens": 9, "completion_tokens": 4})
    _, stream = run(told, sse.HELLO, sse.WORLD)
    assert stream.tokens() == (9, 6, True)


@pytest.mark.feature("A10")
def test_without_any_usage_chunks_are_counted() -> None:
    _, stream = run(sse.HELLO, sse.WORLD, sse.STOP, sse.DONE)
    assert stream.tokens() == (0, 3, True)


@pytest.mark.feature("A10")
def test_zero_is_not_missing() -> None:
    _, stream = run(sse.HELLO, sse.STOP, sse.usage(0, 0), sse.DONE)
    assert stream.tokens() == (0, 0, False)


def test_a_usage_chunk_with_choices_keeps_them() -> None:
    both = sse.chunk({"content": "x"}, "stop", usage={"prompt_tokens": 1})
    out, _ = run(both, sse.DONE)
    assert out == sse.chunk({"content": "x"}, "stop") + sse.DONE


NESTED = b'data: {"usage":{"usage":1},"x":{"usage":{"usage":1}},"t":"\\"usage\\":1"}\n\n'


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b'data: {"a": 1, "usage": null}\n\n', b'data: {"a": 1}\n\n'),
        (b'data: {"usage":{"x":[1,{}]},"a":1}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"usage" : 3 , "a":1}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"usage":1}\n\n', b"data: {}\n\n"),
        (b'data: {"a":{"usage":1}}\n\n', b'data: {"a":{"usage":1}}\n\n'),
        (NESTED, b'data: {"x":{"usage":{"usage":1}},"t":"\\"usage\\":1"}\n\n'),
    ],
)
def test_only_the_top_level_usage_is_taken_out(frame: bytes, expected: bytes) -> None:
    assert without_usage(frame) == expected


def test_nothing_follows_done() -> None:
    out, stream = run(sse.WHOLE + sse.HELLO, sse.HELLO)
    assert out.endswith(DONE_FRAME)
    assert stream.phase is Phase.DONE
