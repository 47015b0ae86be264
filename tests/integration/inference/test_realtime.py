"""A conversation by voice: the official client, a real gateway, a stand-in for each part."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from tests.support.gateway import Gateway, StartGateway, launch
from tests.support.realtime import MIND, base, client, said, session, three
from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until

pytestmark = pytest.mark.feature("A8")


def port(worker: StandIn) -> int:
    return int(worker.url.rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All parts are served by one quick worker."""
    tables = three(*[port(quick_stand_in)] * 3)
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


@asynccontextmanager
async def talk(gateway: Gateway, **changes: object) -> AsyncIterator[AsyncRealtimeConnection]:
    """A session whose parts are set."""
    async with client(gateway.url) as official, official.realtime.connect(model=MIND) as connection:
        assert (await connection.recv()).type == "session.created"
        wanted: Any = session(**changes)
        await connection.session.update(session=wanted)
        assert (await connection.recv()).type == "session.updated"
        yield connection


async def until_event(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    """All events up to the first of this kind."""
    seen: list[Any] = []
    async with asyncio.timeout(10):
        while not seen or seen[-1].type != kind:
            seen.append(await connection.recv())
    return seen


def turns(gateway: Gateway) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "turn"]


async def test_what_is_said_is_answered_by_voice(gateway: Gateway) -> None:
    async with talk(gateway) as connection:
        await connection.input_audio_buffer.append(audio=base(said()))
        seen = await until_event(connection, "response.done")
    kinds = [event.type for event in seen]
    assert kinds[:3] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    heard = [one for one in seen if one.type.endswith("transcription.completed")]
    assert heard[0].transcript
    sound = b"".join(
        base64.b64decode(one.delta) for one in seen if one.type == "response.output_audio.delta"
    )
    assert len(sound) > 1000
    done = seen[-1].response
    assert done.status == "completed"
    assert done.output[0].content[0].transcript
