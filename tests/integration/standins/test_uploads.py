"""Audio files go through the stand-in worker as they come, and it says what is wrong with them."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until
from tests.support.workers_routes import sound

PATH = "/v1/audio/transcriptions"
BOUNDARY = "stand-in-boundary"
HEAD_BYTES = 44


def part(name: str, *, file: str = "") -> bytes:
    named = f'; filename="{file}"\r\nContent-Type: audio/wav' if file else ""
    disposition = f'Content-Disposition: form-data; name="{name}"{named}'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()


def form(model: str, content: bytes) -> bytes:
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    return part("file", file="a.wav") + content + b"\r\n" + part("model") + model.encode() + end


def head(length: int, *more: str) -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: x",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def link(worker: StandIn) -> socket.socket:
    host, port = worker.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def received(wire: socket.socket, until_seen: bytes) -> bytes:
    content = b""
    while until_seen not in content:
        piece = wire.recv(65536)
        assert piece, content
        content += piece
    return content


def send(worker: StandIn, **fields: str) -> httpx.Response:
    files = {"file": ("a.wav", sound(2), "audio/wav")}
    return httpx.post(f"{worker.url}{PATH}", data=fields, files=files, timeout=30)


def peak_bytes(worker: StandIn) -> int:
    """The most memory that the process ever had."""
    lines = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def test_nothing_of_a_large_file_is_kept(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--upload-bytes-max", str(2**30), "--remember", "1")
    content = sound()[:HEAD_BYTES] + bytes(24 * 1024**2)
    send(worker, model=worker.model)  # loads what a first request loads
    before = peak_bytes(worker)
    whole = form(worker.model, content)
    with link(worker) as wire:
        wire.sendall(head(len(whole)))
        wire.sendall(whole)
        answer = received(wire, b'"type":"duration"')
    assert b" 200 " in answer
    assert peak_bytes(worker) - before < 6 * 1024**2
    (seen,) = worker.state()["remembered"]
    file = seen["body"]["file"]
    assert (file["name"], file["bytes"]) == ("a.wav", len(content))
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert seen["body"]["model"] == worker.model


async def test_a_client_that_leaves_in_its_upload_is_seen(quick_stand_in: StandIn) -> None:
    before = quick_stand_in.state()["requests_aborted"]
    with link(quick_stand_in) as wire:
        wire.sendall(head(10**6) + part("file", file="a.wav") + sound())
    await until(lambda: quick_stand_in.state()["requests_aborted"] == before + 1)
    assert quick_stand_in.state()["aborts"][-1]["path"] == PATH


def test_a_deaf_worker_reads_no_more_for_a_while(quick_stand_in: StandIn) -> None:
    quick_stand_in.fail(fault="deaf", after_bytes=1000, seconds=0.3)
    started = time.monotonic()
    assert send(quick_stand_in, model=quick_stand_in.model).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_worker_that_answers_early_reads_the_rest_away(quick_stand_in: StandIn) -> None:
    whole = form(quick_stand_in.model, sound(20))
    with link(quick_stand_in) as wire:
        quick_stand_in.fail(fault="status", status=503, path=PATH)
        wire.sendall(head(len(whole)) + whole[:1000])
        assert received(wire, b"told to answer 503")
        wire.sendall(whole[1000:])
        wire.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in received(wire, b"stand.in")


def test_it_says_continue_before_it_reads(quick_stand_in: StandIn) -> None:
    whole = form(quick_stand_in.model, sound())
    with link(quick_stand_in) as wire:
        wire.sendall(head(len(whole), "Expect: 100-continue"))
        assert b" 100 " in received(wire, b"\r\n\r\n")
        wire.sendall(whole)
        assert b" 200 " in received(wire, b'"type":"duration"')


def test_the_same_bytes_say_the_same_and_others_do_not(quick_stand_in: StandIn) -> None:
    first, again = (send(quick_stand_in, model=quick_stand_in.model).json() for _ in "ab")
    files = {"file": ("a.wav", sound(2)[:-2] + b"\1\1", "audio/wav")}
    fields = {"model": quick_stand_in.model}
    other = httpx.post(f"{quick_stand_in.url}{PATH}", data=fields, files=files, timeout=30).json()
    assert first == again
    assert first["usage"] == other["usage"] == {"type": "duration", "seconds": 2}
    assert first["text"] != other["text"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nope"}, 404, "model"),
        ({"response_format": "srt"}, 400, None),
        ({"response_format": "song"}, 400, "body.response_format"),
        ({"response_format": "diarized_json"}, 400, None),
        ({"response_format": "verbose_json", "stream": "true"}, 400, None),
        ({"stream_include_usage": "true"}, 400, "stream_include_usage"),
    ],
)
def test_a_bad_field_is_refused(
    quick_stand_in: StandIn, fields: dict[str, str], status: int, param: str | None
) -> None:
    refused = send(quick_stand_in, **fields)
    error: dict[str, Any] = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (status, status, param)


def broken() -> Iterator[tuple[bytes, str, int, str]]:
    """Bodies that are no form with a sound in it: body, content type, the refusal's status and
    what it is called in."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    yield b"{}", "application/json", 400, "error"
    yield b"--other\r\n", kind, 400, "detail"
    yield form("stand-in", sound()), "multipart/form-data", 400, "detail"
    yield part("model") + b"stand-in\r\n" + f"--{BOUNDARY}--\r\n".encode(), kind, 400, "error"
    yield part("file") + b"text\r\n" + f"--{BOUNDARY}--\r\n".encode(), kind, 422, "error"
    yield form("stand-in", b"no sound at all"), kind, 400, "error"


@pytest.mark.parametrize(
    ("body", "kind", "status", "called"), list(broken()), ids=map(str, range(6))
)
def test_what_is_no_form_with_a_sound_is_refused(
    quick_stand_in: StandIn, body: bytes, kind: str, status: int, called: str
) -> None:
    headers = {"content-type": kind}
    refused = httpx.post(f"{quick_stand_in.url}{PATH}", content=body, headers=headers, timeout=30)
    assert (refused.status_code, list(refused.json())) == (status, [called])


def test_a_file_over_the_limit_is_refused(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--upload-bytes-max", "1000")
    refused = send(worker, model=worker.model)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "audio_filesize_mb")
