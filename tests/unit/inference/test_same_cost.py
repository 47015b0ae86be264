"""The same request, streamed and plain, is counted with the same time of the GPU and tokens."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.spool import find_remains
from kernel.clock import ManualClock
from kernel.wire.gateway import Segment
from tests.support.wireless import client_of, gateway_alone, idle_link, request

PROMPT_TOKENS = 9
Steps = list[tuple[int, int]]  # ns of a step, and the tokens that it gives
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


def choice(route: str, text: str, *, finish: str | None, plain: bool) -> dict[str, object]:
    said: dict[str, object] = {"text": text}
    if route == "chat":
        said = {"message" if plain else "delta": {"content": text}}
    return {"index": 0, "finish_reason": finish, **said}


def usage(steps: Steps) -> dict[str, int]:
    completion = sum(tokens for _, tokens in steps)
    both = PROMPT_TOKENS + completion
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion,
        "total_tokens": both,
    }


def asked(route: str, *, stream: bool) -> bytes:
    prompt = (
        {"messages": [{"role": "user", "content": "x"}]} if route == "chat" else {"prompt": "x"}
    )
    return request(PATHS[route], {"model": "m", **prompt, **({"stream": True} if stream else {})})


def plain_answer(route: str, steps: Steps) -> bytes:
    text = "w " * len(steps)
    choices = [choice(route, text, finish="stop", plain=True)]
    body = json.dumps({"choices": choices, "usage": usage(steps)}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    return head % (len(body), body)


def event(payload: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(payload) + 8, payload)


def streamed_answer(route: str, steps: Steps) -> list[bytes]:
    """What the worker sends after each step."""
    last = len(steps) - 1
    out = [
        event(
            json.dumps(
                {
                    "choices": [
                        choice(route, "w ", finish="stop" if at == last else None, plain=False)
                    ]
                }
            ).encode()
        )
        for at in range(len(steps))
    ]
    out[0] = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\n\r\n" + out[0]
    )
    told = json.dumps({"choices": [], "usage": usage(steps)}).encode()
    out[-1] += event(told) + event(b"[DONE]") + b"0\r\n\r\n"
    return out


def counted(route: str, steps: Steps, *, stream: bool) -> list[Segment]:
    """What stands in the spool when the request was answered. The gateway sweeps at each step."""
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as home:
        gateway = gateway_alone(Path(home), clock)
        client, to_client = client_of(gateway)
        link, _ = idle_link(gateway)
        client.data_received(asked(route, stream=stream))
        said = streamed_answer(route, steps) if stream else [plain_answer(route, steps)]
        for at, (span_ns, _) in enumerate(steps):
            clock.advance(ns=span_ns)
            gateway.sweep()
            if stream:
                link.data_received(said[at])
            elif at == len(steps) - 1:
                link.data_received(said[0])
        assert to_client.written[0].startswith(b"HTTP/1.1 200 OK")
        assert not gateway.exchanges
        gateway.spool.close(empty=False)
        (remains,) = find_remains(Path(home), own="")
        found = remains.segments()
        remains.close()
    return found


@pytest.mark.feature("A12", "G1")
@pytest.mark.parametrize("route", PATHS)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 15 * 10**9), st.integers(1, 5)), min_size=1, max_size=12
    )
)
def test_a_stream_costs_what_the_plain_answer_costs(route: str, steps: Steps) -> None:
    streamed = counted(route, steps, stream=True)
    plain = counted(route, steps, stream=False)
    spans = [(one.start_ns, one.end_ns, one.weight, one.end) for one in streamed]
    assert spans == [(one.start_ns, one.end_ns, one.weight, one.end) for one in plain]
    assert sum(end - start for start, end, *_ in spans) == sum(span for span, _ in steps)
    for found in (streamed, plain):
        assert sum(one.prompt_tokens for one in found) == PROMPT_TOKENS
        assert sum(one.completion_tokens for one in found) == sum(tokens for _, tokens in steps)
