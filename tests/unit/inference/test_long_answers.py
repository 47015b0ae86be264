"""Plain answers too long to be kept: however they come, they are judged as short ones are, and
nobody has the whole of one that is a failure.
"""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.answer import TAIL_BYTES, Answer, State
from inference.routes import Route, every_route
from tests.unit.inference import sse

ROUTES = {route.name: route for route in every_route()}
LONG = "x" * 2 * TAIL_BYTES
STOPPED = {"text": LONG, "finish_reason": "stop"}
GIVEN_UP = {"index": 1, "finish_reason": "abort", "text": LONG}
DIED = {"message": "it died", "code": 500}
ASKED = {"id": "r", "created_at": 1.5, "background": None}
SCHEMA = {"error": {"type": "string"}, "status": {"enum": ["failed"], "status": "failed"}}
TOOLS = [{"type": "function", "parameters": {"properties": SCHEMA, **SCHEMA}}]
CALL = {"type": "web_search_call", "status": "failed", "error": DIED, "finish_reason": "abort"}
PLACES = st.lists(st.tuples(st.booleans(), st.integers(-60, 2000)), max_size=6)

FAILURES = {
    "error": ("embeddings", {"error": DIED, "more": LONG}),
    "error of text": ("embeddings", {"id": "e", "error": "died", "more": LONG}),
    "older error": ("chat", {"object": "error", "message": LONG, "code": 500}),
    "error at the end": ("images", {"data": [LONG], "error": DIED, "usage": {}}),
    "given up": ("chat", {"choices": [STOPPED, GIVEN_UP], "error": None}),
    "given up at the end": ("completions", {"choices": [STOPPED, {"finish_reason": "abort"}]}),
    "failed": ("responses", {**ASKED, "status": "failed", "output": [LONG]}),
    "failed at the end": (
        "responses",
        {**ASKED, "output": [LONG], "tools": TOOLS, "status": "failed", "text": {}},
    ),
    "of a file": ("transcriptions", {"text": LONG, "error": DIED}),
}
QUOTED = json.dumps([FAILURES["given up"][1], FAILURES["failed at the end"][1], {"error": DIED}])
ANSWERS = {
    "quoted": ("chat", {"choices": [{"text": QUOTED, "finish_reason": "stop"}]}),
    "quoted in a member's name": ("chat", {"choices": [], QUOTED: 'a"finish_reason', "b": LONG}),
    "ends with a quote": ("chat", {"choices": [{**STOPPED, 'of"finish_reason': "abort"}]}),
    "no error": ("images", {"error": None, "data": [LONG], "status": "error"}),
    "no error at the end": ("responses", {"output": [LONG], "status": "completed", "error": None}),
    "empty error": ("embeddings", {"error": {}, "data": [LONG], "object": "list"}),
    "tools": ("responses", {"output": [LONG], "status": "completed", "tools": TOOLS}),
    "a call": ("responses", {"id": "r", "status": "completed", "output": [LONG, CALL]}),
    "a call's words": ("messages", {"content": [LONG, {"type": "tool_use", "input": CALL}]}),
}
NAMES = re.compile(rb'"(error|abort|failed)\\?"')


def of(case: tuple[str, object], *, compact: bool) -> tuple[Route, bytes]:
    name, content = case
    separators = (",", ":") if compact else (", ", ": ")
    return ROUTES[name], json.dumps(content, separators=separators).encode()


def in_pieces(
    route: Route, content: bytes, places: list[tuple[bool, int]], *, told: bool
) -> tuple[bytes, Answer]:
    """Cut near what could be a failure, and anywhere near the beginning or the end."""
    found = NAMES.search(content)
    near = found.start() if found else 0
    pieces = sse.cuts(content, [near + at if close else at for close, at in places])
    answer = Answer(route, show_usage=False)
    answer.head(200, b"application/json", len(content) if told else -2)
    out = b""
    for piece in pieces:
        if answer.state in (State.WAITING, State.GOING):
            out += answer.feed(piece)
    if not told:
        answer.end()
    return out, answer


def both_ways(
    case: tuple[str, object], places: list[tuple[bool, int]], *, compact: bool, told: bool
) -> tuple[bytes, bytes, Answer, Answer]:
    """The content, what the client got of it in pieces, and the answer long and short."""
    route, content = of(case, compact=compact)
    out, answer = in_pieces(route, content, places, told=told)
    short = Answer(route, show_usage=False)
    short.take(200, b"application/json", b"", content)
    return content, out, answer, short


@pytest.mark.feature("A12")
@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
@given(places=PLACES, compact=st.booleans(), told=st.booleans())
def test_a_failure_is_found_in_any_pieces(
    case: tuple[str, object], places: list[tuple[bool, int]], compact: bool, told: bool
) -> None:
    content, out, answer, short = both_ways(case, places, compact=compact, told=told)
    assert (answer.state, answer.reason) == (State.BROKEN, short.reason)
    assert content.startswith(out)
    assert out != content or not told  # else the end of the framing is still to come


@pytest.mark.feature("A12")
@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
@given(places=PLACES, compact=st.booleans(), told=st.booleans())
def test_an_answer_that_speaks_of_failures_is_none(
    case: tuple[str, object], places: list[tuple[bool, int]], compact: bool, told: bool
) -> None:
    content, out, answer, short = both_ways(case, places, compact=compact, told=told)
    assert (out, answer.state, short.state) == (content, State.COMPLETE, State.COMPLETE)


@pytest.mark.parametrize("name", ["error of text", "older error", "failed"])
def test_what_begins_as_a_failure_is_nothing_for_the_client(name: str) -> None:
    """So that another worker can still be tried."""
    route, content = of(FAILURES[name], compact=True)
    assert in_pieces(route, content, [(False, 100), (False, 1500)], told=True)[0] == b""


def test_sound_is_not_read() -> None:
    answer = Answer(ROUTES["speech"], show_usage=False)
    answer.head(200, b"audio/pcm", 9)
    assert answer.feed(b'{"error":') == b'{"error":'
    answer.end()
    assert answer.state is State.COMPLETE
