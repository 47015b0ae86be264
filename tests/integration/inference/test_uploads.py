"""Files on their way to a worker: by official clients, large, in any order, in little memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, launch, snapshot
from tests.support.raw_http import RawConnection, connect, request
from tests.support.standin import MODEL, StandIn, start_stand_in
from tests.support.wait import until
from tests.support.workers_node import NodeWalk
from tests.support.workers_routes import sound

PATH = "/v1/audio/transcriptions"
HEADERS = {"authorization": f"Bearer {KEY}"}
MIB = 1 << 20
FILE = b'--XXb\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
NAMED = b'--XXb\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
END = b"--XXb--\r\n"
pytestmark = pytest.mark.feature("A4")


@pytest.fixture(scope="module")
def worker() -> Iterator[StandIn]:
    options = ("--tokens-per-second", "0", "--first-token-ms", "0", "--remember", "1")
    started = start_stand_in(*options, "--upload-bytes-max", str(1 << 30))
    yield started
    started.process.kill()
    started.process.wait()
    if started.process.stdout is not None:
        started.process.stdout.close()


@pytest.fixture(scope="module")
def gateway(worker: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = int(worker.url.rsplit(":", 1)[1])
    tables = snapshot(port, upstream_model=MODEL)
    started = launch(tmp_path_factory.mktemp("gateway"), tables, cold=True)
    yield started
    started.kill()


def form(content: bytes, *, model_first: bool) -> bytes:
    file = FILE + content + b"\r\n"
    return (NAMED + file if model_first else file + NAMED) + END


def send(gateway: Gateway, body: Any, **headers: str) -> httpx.Response:
    """A plain POST; no content type is needed beside the body."""
    url = f"{gateway.url}{PATH}"
    return httpx.post(url, content=body, headers={**HEADERS, **headers}, timeout=60)


def memory(gateway: Gateway, what: str = "VmRSS") -> int:
    with open(f"/proc/{gateway.process.pid}/status") as file:
        line = next(line for line in file if line.startswith(what))
    return int(line.split()[1]) * 1024


def seen(worker: StandIn) -> Any:
    (last,) = worker.state()["remembered"]
    return last["body"]


def test_the_official_client_hears(gateway: Gateway, worker: StandIn) -> None:
    before = len(gateway.segments())
    heard = gateway.client().audio.transcriptions.create(
        model="m", file=("a.wav", sound(2)), prompt="x", extra_body={"vllm_xargs": "{}"}
    )
    assert "2.0 seconds" in heard.text
    body = seen(worker)
    assert body.pop("file")["sha256"] == hashlib.sha256(sound(2)).hexdigest()
    assert body == {"model": MODEL, "prompt": "x"}
    (piece,) = gateway.segments()[before:]
    assert (piece.end, piece.route) == (SegmentEnd.DONE, "transcriptions")
    assert piece.tokens_estimated  # seconds are no tokens


def test_translations_and_other_formats_pass(gateway: Gateway) -> None:
    client = gateway.client()
    assert client.audio.translations.create(model="m", file=("a.wav", sound())).text
    verbose = client.audio.transcriptions.create(
        model="m", file=("a.wav", sound()), response_format="verbose_json"
    )
    assert verbose.duration == 1


def test_a_stream_tells_its_tokens_to_the_meter_alone(gateway: Gateway) -> None:
    body = {"model": "m", "stream": "true"}
    files = {"file": ("a.wav", sound())}
    answer = httpx.post(f"{gateway.url}{PATH}", headers=HEADERS, data=body, files=files)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in answer.text
    last = gateway.segments()[-1]
    assert last.completion_tokens > 0
    assert not last.tokens_estimated


@pytest.mark.parametrize("model_first", [True, False])
def test_a_hundred_mebibytes_need_no_memory(
    gateway: Gateway, worker: StandIn, model_first: bool
) -> None:
    content = sound()[:44] + bytes(100 * MIB)
    for first in (True, False):
        send(gateway, form(content[: 2 * MIB], model_first=first))
    before = memory(gateway)
    answer = send(gateway, form(content, model_first=model_first))
    assert answer.status_code == 200, answer.text
    assert seen(worker)["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert memory(gateway, "VmHWM") - before < 4 * MIB
    assert memory(gateway) - before < 3 * MIB


@pytest.mark.parametrize("seconds", [0.5, 2])
def test_a_worker_that_stops_reading_for_a_while_misses_nothing(
    gateway: Gateway, worker: StandIn, seconds: float
) -> None:
    send(gateway, form(sound(), model_first=True))
    before = memory(gateway)
    worker.fail(fault="deaf", after_bytes=MIB, seconds=seconds)
    content = sound()[:44] + b"".join(number.to_bytes(4) for number in range(15 * MIB))
    assert send(gateway, form(content, model_first=True)).status_code == 200
    assert seen(worker)["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert memory(gateway, "VmHWM") - before < 4 * MIB
    assert gateway.metric("ganglion_gateway_upload_disk_bytes") == 0


def test_the_client_for_node_sends_the_model_last(
    gateway: Gateway, worker: StandIn, node_walk: NodeWalk
) -> None:
    steps = ("transcription", "transcription_file_first")
    told = node_walk(f"{gateway.url}/v1", KEY, "m", *steps)
    assert all(facts["text"] for facts in told.values())
    assert seen(worker)["file"]["bytes"] == 44 + 32_000 + 20 * MIB


def test_the_client_for_python_sends_what_it_cannot_size(gateway: Gateway, worker: StandIn) -> None:
    def pieces() -> Iterator[bytes]:
        whole = form(sound()[:44] + bytes(3 * MIB), model_first=False)
        yield from (whole[at : at + 100_000] for at in range(0, len(whole), 100_000))

    assert send(gateway, pieces()).status_code == 200  # in chunks
    assert seen(worker)["file"]["bytes"] == 44 + 3 * MIB
    gateway.client().audio.transcriptions.create(model="m", file=io.BytesIO(sound()))


async def part(gateway: Gateway, raw: RawConnection, body: bytes, sent: int, *more: str) -> None:
    whole = request(body, *more, key=KEY, path=PATH)
    await raw.send(whole[: len(whole) - len(body) + sent])


async def test_it_says_continue_before_the_file(gateway: Gateway) -> None:
    body = form(sound(), model_first=False)
    async with connect(gateway.port) as raw:
        await part(gateway, raw, body, 0, "expect: 100-continue")
        assert (await raw.head())[0] == 100
        await raw.send(body)
        assert (await raw.answer()).status == 200


async def test_at_every_cut_and_one_after_another(gateway: Gateway, worker: StandIn) -> None:
    body = form(sound()[:200], model_first=False)
    whole = request(body, key=KEY, path=PATH)
    async with connect(gateway.port) as raw:
        for cut in range(len(whole) - len(body) + 1, len(whole), 7):
            await raw.send(whole[:cut])
            await raw.send(whole[cut:])
            assert (await raw.answer()).status == 200
    assert seen(worker)["file"]["bytes"] == 200


async def test_uploads_in_a_row_without_waiting(gateway: Gateway) -> None:
    one = request(form(sound(), model_first=True), key=KEY, path=PATH)
    async with connect(gateway.port) as raw:
        await raw.send(one * 4)
        assert [(await raw.answer()).status for _ in range(4)] == [200] * 4


def test_two_at_once_do_not_mix(gateway: Gateway) -> None:
    async def run() -> set[str]:
        client = gateway.async_client()
        sounds = [sound(1 + n / 10) for n in range(10)]
        calls = [
            client.audio.transcriptions.create(model="m", file=("a.wav", one)) for one in sounds
        ]
        return {heard.text for heard in await asyncio.gather(*calls)}

    assert len(asyncio.run(run())) == 10


async def test_a_client_that_leaves_is_seen_by_the_worker_at_once(
    gateway: Gateway, worker: StandIn
) -> None:
    before = worker.state()["requests_aborted"]
    pieces = len(gateway.segments())
    async with connect(gateway.port) as raw:
        await part(gateway, raw, form(bytes(MIB), model_first=True), 600_000)
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 1)
    await until(lambda: worker.state()["requests_aborted"] == before + 1, 5, every=0.005)
    await until(lambda: len(gateway.segments()) == pieces + 1)
    last = gateway.segments()[-1]
    assert (last.end, last.status) == (SegmentEnd.ABORTED, 499)


async def test_one_that_leaves_before_its_model_is_not_counted(gateway: Gateway) -> None:
    pieces = len(gateway.segments())
    async with connect(gateway.port) as raw:
        await part(gateway, raw, form(bytes(MIB), model_first=False), 600_000)
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 1)
    await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)
    assert len(gateway.segments()) == pieces


def test_a_trace_goes_on(gateway: Gateway, worker: StandIn) -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    body = form(sound(), model_first=False)
    answer = send(gateway, body, traceparent=parent)
    assert answer.headers["traceparent"][:35] == parent[:35]
    (last,) = worker.state()["remembered"]
    assert last["headers"]["traceparent"] == answer.headers["traceparent"]
    assert last["headers"]["x-request-id"] == answer.headers["x-request-id"]


async def test_pools_and_kept_connections_serve_too(
    start_gateway: StartGateway, worker: StandIn
) -> None:
    port = int(worker.url.rsplit(":", 1)[1])
    gateway = start_gateway(snapshot(port, upstream_model=MODEL, pool=True, rate_nano=10**9))
    for size in (100, 3 * MIB, 100, 3 * MIB):
        body = form(sound()[:44] + bytes(size), model_first=size < MIB)
        assert (await asyncio.to_thread(send, gateway, body)).status_code == 200
    assert [one.end for one in gateway.segments()] == [SegmentEnd.DONE] * 4


def test_errors_are_the_clients_own_classes(gateway: Gateway) -> None:
    client = gateway.client()
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="none", file=("a.wav", sound()))
    with pytest.raises(openai.BadRequestError, match="Invalid or unsupported audio"):
        client.audio.transcriptions.create(model="m", file=("a.wav", b"no sound"))
    with pytest.raises(openai.AuthenticationError):
        gateway.client("gk_" + "x" * 43).audio.transcriptions.create(
            model="m", file=("a.wav", bytes(10 * MIB))
        )
