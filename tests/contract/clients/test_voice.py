"""A conversation by voice with the official clients, unmodified: the one for Node over ``ws`` and
TLS; the one for Python stands in tests/integration/inference/test_realtime.py, and both here before
real vLLM."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, launch
from tests.support.realtime import EARS, MIND, VOICE, base, said, session, silence, three, tone
from tests.support.realtime_talk import events_until, plain, port, talk, turns, until_event
from tests.support.standin import StandIn
from tests.support.tls_front import tls_front
from tests.support.vllm import VllmServer
from tools import node_part

pytestmark = pytest.mark.feature("A8")
SCRIPT = Path(__file__).parent / "realtime.cjs"
SECONDS_MAX = 60
AT_16_KHZ: dict[str, object] = {"format": {"type": "audio/pcm", "rate": 16_000}}
Event = dict[str, Any]


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All parts are served by one quick worker."""
    tables = three(*[port(quick_stand_in)] * 3)
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


async def node_talks(
    gateway: Gateway,
    folder: Path,
    *sounds: bytes,
    key: str = KEY,
    model: str = MIND,
    **terms: Any,
) -> list[Event]:
    """What the client for Node saw while it said these turns, one after another's answer."""
    asked = {"session": session(), "turns": [base(one) for one in sounds], **terms}
    async with tls_front(gateway.port, folder) as front:
        process = await asyncio.create_subprocess_exec(
            *(str(node_part.NODE), str(SCRIPT), f"{front.url}/v1", key, model),
            env={
                "NODE_PATH": str(node_part.MODULES),
                "NODE_EXTRA_CA_CERTS": str(front.certificate),
                "PATH": os.environ["PATH"],
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS_MAX):
            told, complaint = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0, complaint.decode()[-3000:]
    return [json.loads(line) for line in told.splitlines()]


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


@pytest.mark.usefixtures("node_walk")
async def test_the_client_for_node_talks(gateway: Gateway, tmp_path: Path) -> None:
    events = await node_talks(gateway, tmp_path, said(), said())
    assert not of(events, "raised")
    done = of(events, "response.done")
    assert [event["status"] for event in done] == ["completed", "completed"]
    assert sum(event["heard"] for event in of(events, "response.output_audio.delta")) > 20_000
    heard = of(events, "conversation.item.input_audio_transcription.completed")
    assert all(event["transcript"] for event in heard)
    assert len(heard) == 2
    assert events[-1] == {"type": "closed", "code": 1000}


@pytest.mark.usefixtures("node_walk")
async def test_what_it_raises(gateway: Gateway, tmp_path: Path) -> None:
    wrong = {"type": "realtime", "model": "nothing"}
    events = await node_talks(gateway, tmp_path, session=wrong, until="error")
    (raised,) = of(events, "raised")
    assert (raised["name"], raised["code"]) == ("OpenAIRealtimeError", "model_not_found")
    assert await node_talks(gateway, tmp_path, key="gk_wrong") == [
        {"type": "refused", "status": 401}
    ]


@pytest.mark.long
@pytest.mark.usefixtures("node_walk")
async def test_real_vllm_hears_and_thinks(
    vllm_speech_server: VllmServer,
    vllm_server: VllmServer,
    quick_stand_in: StandIn,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    """It has no route that speaks: the stand-in does. Sound of 16 kHz, as this build has nothing
    to change another rate with (PyAV)."""
    ears, mind = (urlsplit(one.url).port or 0 for one in (vllm_speech_server, vllm_server))
    tables = three(ears, mind, port(quick_stand_in))
    tables.replicas[0].upstream_model = vllm_speech_server.model
    tables.replicas[1].upstream_model = vllm_server.model
    gateway = start_gateway(tables)
    short = {**session(**AT_16_KHZ), "max_output_tokens": 12}
    events = await node_talks(gateway, tmp_path, said_16(), session=short)
    assert not of(events, "raised")
    assert of(events, "response.done")[0]["status"] in ("completed", "incomplete")
    await python_talks(gateway)
    await words_of(gateway)
    legs = {leg["model"]: leg["status"] for turn in turns(gateway) for leg in turn["legs"]}
    assert legs == {EARS: 200, MIND: 200, VOICE: 200}
    assert {one.end for one in gateway.segments()} == {SegmentEnd.DONE}


def said_16() -> bytes:
    rate = 16_000
    return silence(400, rate=rate) + tone(600, rate=rate) + silence(800, rate=rate)


async def python_talks(gateway: Gateway) -> None:
    """A turn by the client for Python: what was heard, and an answer in sound."""
    async with talk(gateway, **AT_16_KHZ) as connection:
        await connection.session.update(session={"type": "realtime", "max_output_tokens": 12})
        await connection.input_audio_buffer.append(audio=base(said_16()))
        seen = await until_event(connection, "response.done", SECONDS_MAX)
    kinds = [event.type for event in seen]
    assert "conversation.item.input_audio_transcription.completed" in kinds
    assert "response.output_audio.delta" in kinds


async def words_of(gateway: Gateway) -> None:
    """Dictation: sound in, vLLM's words out."""
    path = f"/v1/audio/transcriptions/stream?model={EARS}&sample_rate=16000"
    async with plain(gateway, path) as socket:
        await socket.send(said_16())
        await socket.send(json.dumps({"type": "session.end"}))
        seen, _ = await events_until(socket, "session.ended", SECONDS_MAX)
    assert [one["segment"] for one in seen if one["type"] == "transcript.text.done"] == [1]
