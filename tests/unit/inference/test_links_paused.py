"""A connection to a worker that was paused for a slow client is read again for the next request."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.gateway import Gateway
from kernel.clock import ManualClock
from tests.support.wireless import (
    Wire,
    client_of,
    gateway_alone,
    idle_link,
    only_replica,
    request,
)

PLAIN = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'
SPEECH = request("/v1/audio/speech", {"model": "m", "input": "x", "voice": "v"})
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
SOUND = b"s" * 70_000
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n'


def chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


ANSWERS = {  # what is asked, the beginning of the answer, and all the rest of it
    "sound of a length": (SPEECH, HEAD + b"audio/wav\r\ncontent-length: 70002\r\n\r\nss", SOUND),
    "sound in chunks": (
        SPEECH,
        HEAD + b"audio/wav\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"ss"),
        chunked(SOUND) + b"0\r\n\r\n",
    ),
    "a stream": (
        request("/v1/chat/completions", {**CHAT, "stream": True}),
        HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(EVENT),
        chunked(EVENT) + chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    ),
    "a stream whose framing ends later": (
        request("/v1/chat/completions", {**CHAT, "stream": True}),
        HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(EVENT),
        chunked(EVENT) + chunked(b"data: [DONE]\n\n"),
    ),
}


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return gateway_alone(tmp_path, ManualClock())


def read_by(gateway: Gateway, answered: str) -> tuple[Wire, Wire]:
    """A slow client, whose answer has come; and the worker's connection."""
    asked, begins, rest = ANSWERS[answered]
    client, to_client = client_of(gateway)
    link, to_worker = idle_link(gateway)
    client.data_received(asked)
    link.data_received(begins)
    to_client.full = True
    link.data_received(rest)
    return to_client, to_worker


@pytest.mark.feature("A12")
@pytest.mark.parametrize("answered", ANSWERS)
def test_it_is_read_while_it_lies_idle(gateway: Gateway, answered: str) -> None:
    to_client, to_worker = read_by(gateway, answered)
    assert b"".join(to_client.written).startswith(b"HTTP/1.1 200")
    assert to_worker.reading
    assert not gateway.exchanges


@pytest.mark.feature("A12")
@pytest.mark.parametrize("answered", ["sound of a length", "sound in chunks", "a stream"])
def test_the_next_request_over_it_has_its_answer(gateway: Gateway, answered: str) -> None:
    _, to_worker = read_by(gateway, answered)
    (link,) = only_replica(gateway).links._idle
    client, to_client = client_of(gateway)
    client.data_received(request("/v1/chat/completions", dict(CHAT)))
    assert to_worker.written[-1].startswith(b"POST /v1/chat/completions")
    assert to_worker.reading
    head = b"application/json\r\ncontent-length: %d\r\n\r\n" % len(PLAIN)
    link.data_received(HEAD + head + PLAIN)
    assert to_client.written[-1].endswith(PLAIN)
