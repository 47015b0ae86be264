"""Trace context: what a client may send, and what becomes of what it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.tracing import STATE_BYTES_MAX, trace_of

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00f067aa0ba902b7"
GOOD = b"00-%b-%b-01" % (TRACE, PARENT)
REQUEST = "req_" + "ab" * 16


@pytest.mark.feature("O2")
def test_a_good_one_goes_on_with_a_span_of_ours() -> None:
    trace = trace_of([GOOD], [b"vendor=1"], REQUEST)
    assert (trace.trace_id, trace.flags, trace.told) == (TRACE.decode(), 1, True)
    assert trace.span_id != PARENT.decode()
    assert trace.onward() == b"traceparent: 00-%b-%b-01\r\ntracestate: vendor=1\r\n" % (
        TRACE,
        trace.span_id.encode(),
    )


@pytest.mark.parametrize(
    "sent",
    [
        [b""],
        [GOOD.upper()],
        [GOOD + b"-more"],  # version 00 has four fields
        [b"ff" + GOOD[2:]],
        [b"00-%b-%b-01" % (b"0" * 32, PARENT)],
        [b"00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"00-%b-%b-1" % (TRACE, PARENT)],
        [b"01" + GOOD[2:] + b"more"],
        [GOOD, GOOD],
        [GOOD + b"\n"],
    ],
)
def test_a_malformed_one_begins_a_new_trace(sent: list[bytes]) -> None:
    trace = trace_of(sent, [b"vendor=1"], REQUEST)
    assert (trace.trace_id, trace.state, trace.told) == ("ab" * 16, b"", True)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert trace_of([b"cc" + GOOD[2:] + b"-more"], [], REQUEST).trace_id == TRACE.decode()


@pytest.mark.parametrize("state", [b"x" * (STATE_BYTES_MAX + 1), b"a\xffb", b"a\x00"])
def test_a_state_that_is_long_or_wild_is_dropped(state: bytes) -> None:
    trace = trace_of([GOOD], [state], REQUEST)
    assert (trace.trace_id, trace.state) == (TRACE.decode(), b"")


def test_without_a_header_a_trace_is_our_own() -> None:
    trace = trace_of([], [], REQUEST)
    assert (trace.trace_id, trace.sampled, trace.told) == ("ab" * 16, True, False)


@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_comes_nothing_but_a_header_goes_on(
    parents: list[bytes], states: list[bytes]
) -> None:
    lines = trace_of(parents, states, REQUEST).onward().split(b"\r\n")
    assert lines[0].startswith(b"traceparent: 00-")
    assert len(lines[0]) == len(b"traceparent: ") + 55
    assert all(byte >= 0x20 for line in lines for byte in line)
