"""What a session keeps and how it goes on: items, broken sound, a gateway that stops."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import StartGateway
from tests.support.realtime import base, said, three, tone
from tests.support.realtime_talk import port, said_of, talk, until_event
from tests.support.scripted_worker import CUT, chunk, scripted_worker
from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until

pytestmark = pytest.mark.feature("A8")
SOUND = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_sound_that_breaks_off_fails_its_response_alone(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    mind = port(quick_stand_in)
    async with scripted_worker([SOUND + chunk(bytes(4801)), CUT]) as voice:
        gateway = start_gateway(three(mind, mind, voice.port))
        async with talk(gateway) as connection:
            await connection.response.create()
            assert (await until_event(connection, "response.done"))[-1].response.status == "failed"
            await until_event(connection, "error")
            await connection.response.create(response={"output_modalities": ["text"]})
            done = (await until_event(connection, "response.done"))[-1].response
    assert done.status == "completed"


async def test_items_can_be_read_cut_and_removed(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(three(*[port(quick_stand_in)] * 3))
    async with talk(gateway) as connection:
        await connection.response.create()
        done = (await until_event(connection, "response.done"))[-1].response
        item_id = done.output[0].id
        item = connection.conversation.item
        await item.truncate(item_id=item_id, content_index=0, audio_end_ms=1)
        await until_event(connection, "conversation.item.truncated")
        await item.retrieve(item_id=item_id)
        kept = (await until_event(connection, "conversation.item.retrieved"))[-1].item
        assert len(kept.content[0].transcript) <= len(done.output[0].content[0].transcript)
        await item.delete(item_id=item_id)
        await until_event(connection, "conversation.item.deleted")
        await item.delete(item_id=item_id)
        assert (await until_event(connection, "error"))[-1].error.code == "not_found"


async def test_speech_that_may_not_interrupt_is_answered_next(
    stand_in_worker: StartStandIn, start_gateway: StartGateway
) -> None:
    worker = stand_in_worker("--tokens-per-second", "100")
    gateway = start_gateway(three(*[port(worker)] * 3))
    patient = {"type": "server_vad", "interrupt_response": False}
    async with talk(gateway, turn_detection=patient) as connection:
        await connection.input_audio_buffer.append(audio=base(said()))
        await until_event(connection, "response.created")
        await connection.input_audio_buffer.append(audio=base(said()))
        for _ in range(2):
            done = (await until_event(connection, "response.done"))[-1].response
            assert done.status == "completed"


async def test_a_gateway_that_stops_lets_the_answer_end(
    stand_in_worker: StartStandIn, start_gateway: StartGateway
) -> None:
    worker = stand_in_worker("--tokens-per-second", "100")
    gateway = start_gateway(three(*[port(worker)] * 3))
    async with talk(gateway) as connection:
        await said_of(connection, "Hello there.")
        await connection.response.create()
        await until_event(connection, "response.created")
        gateway.process.terminate()
        assert (await until_event(connection, "response.done"))[-1].response.status == "completed"
    await until(lambda: gateway.process.poll() == 0)


async def test_without_an_answer_wished_for_it_only_writes_down(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(three(*[port(quick_stand_in)] * 3))
    quiet = {"type": "server_vad", "create_response": False}
    written = "conversation.item.input_audio_transcription.completed"
    async with talk(gateway, turn_detection=quiet) as connection:
        seen: list[Any] = []
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=base(said()))
            seen += await until_event(connection, written)
    assert not [one for one in seen if one.type.startswith("response.")]


async def test_the_rate_of_sound_waits_for_what_was_sent(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(three(*[port(quick_stand_in)] * 3))
    async with talk(gateway, turn_detection=None) as connection:
        await connection.input_audio_buffer.append(audio=base(tone(200)))
        slower: Any = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}
        await connection.session.update(session={"type": "realtime", **slower})
        assert (await until_event(connection, "error"))[-1].error.code == "conflict"
        await connection.input_audio_buffer.clear()
        await connection.session.update(session={"type": "realtime", **slower})
        told = (await until_event(connection, "session.updated"))[-1].session
    assert told.audio.input.format.rate == 16000
