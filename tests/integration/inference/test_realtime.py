"""A conversation by voice: the official client, a real gateway, a stand-in for each part."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from kernel.wire.gateway import AccountRow
from tests.support.brain_double import brain_double
from tests.support.gateway import OWNER, Gateway, StartGateway, launch, snapshot
from tests.support.realtime import EARS, MIND, VOICE, base, said, three, tone
from tests.support.realtime_talk import plain, port, said_of, talk, turns, until_event
from tests.support.scripted_worker import WAIT, Script, chunk, scripted_worker, stream_head
from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until
from tests.unit.inference import sse

pytestmark = pytest.mark.feature("A8")
SENTENCE = sse.chunk({"content": "This is a whole sentence. And"})
SOUND = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"
TALKING: Script = [stream_head(), chunk(SENTENCE), WAIT]
SPEAKING: Script = [SOUND + chunk(bytes(4800)), WAIT]


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All parts are served by one quick worker."""
    tables = three(*[port(quick_stand_in)] * 3)
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


def kinds(seen: list[Any]) -> list[str]:
    return [event.type for event in seen]


async def test_what_is_said_is_answered_by_voice(gateway: Gateway) -> None:
    async with talk(gateway) as connection:
        await connection.input_audio_buffer.append(audio=base(said()))
        seen = await until_event(connection, "response.done")
    assert kinds(seen)[:3] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    assert next(one for one in seen if one.type.endswith("transcription.completed")).transcript
    deltas = [one.delta for one in seen if one.type == "response.output_audio.delta"]
    assert len(b"".join(base64.b64decode(delta) for delta in deltas)) > 10_000
    done = seen[-1].response
    assert done.status == "completed"
    assert done.output[0].content[0].transcript


async def test_each_part_goes_to_its_own_deployment_under_one_turn(
    stand_in_worker: StartStandIn, start_gateway: StartGateway
) -> None:
    workers = [stand_in_worker("--tokens-per-second", "0") for _ in range(3)]
    gateway = start_gateway(three(*(port(worker) for worker in workers)))
    async with talk(gateway) as connection:
        await connection.input_audio_buffer.append(audio=base(said()))
        done = (await until_event(connection, "response.done"))[-1].response
    (turn,) = await until(lambda: turns(gateway))
    assert turn["turn"] == done.turn_id
    assert (turn["status"], turn["sound_out_ms"] > 0) == ("completed", True)
    models = {leg["model"]: leg["request_id"] for leg in turn["legs"]}
    assert list(models) == [EARS, MIND, VOICE]
    spooled = {one.request_id: one.model for one in gateway.segments()}
    assert spooled == {leg["request_id"]: leg["model"] for leg in turn["legs"]}


async def test_a_conversation_goes_on_with_what_was_said(
    stand_in_worker: StartStandIn, start_gateway: StartGateway
) -> None:
    worker = stand_in_worker("--tokens-per-second", "0", "--remember", "20")
    gateway = start_gateway(three(*[port(worker)] * 3))
    async with talk(gateway) as connection:
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=base(said()))
            await until_event(connection, "response.done")
    chats = [one for one in worker.state()["remembered"] if one["path"].endswith("completions")]
    roles = [message["role"] for message in chats[-1]["body"]["messages"]]
    assert roles == ["user", "assistant", "user"]


async def test_new_speech_stops_the_workers_at_once(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    async with scripted_worker(TALKING) as mind, scripted_worker(SPEAKING) as voice:
        gateway = start_gateway(three(port(quick_stand_in), mind.port, voice.port))
        async with talk(gateway) as connection:
            await connection.input_audio_buffer.append(audio=base(said()))
            await until_event(connection, "response.output_audio.delta")
            await connection.input_audio_buffer.append(audio=base(tone(200)))
            await until(lambda: mind.aborted == voice.aborted == 1, 2)
            done = (await until_event(connection, "response.done"))[-1].response
        assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")


async def test_a_response_can_be_cancelled_and_another_begun(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    async with scripted_worker(TALKING) as mind, scripted_worker(SPEAKING) as voice:
        gateway = start_gateway(three(port(quick_stand_in), mind.port, voice.port))
        async with talk(gateway) as connection:
            for number in (1, 2):
                await connection.response.create()
                await until_event(connection, "response.output_audio.delta")
                await connection.response.cancel()
                done = (await until_event(connection, "response.done"))[-1].response
                assert done.status_details.reason == "client_cancelled"
                await until(lambda n=number: mind.aborted == voice.aborted == n)  # type: ignore[misc]


async def test_a_client_that_leaves_stops_the_workers(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    async with scripted_worker(TALKING) as mind, scripted_worker(SPEAKING) as voice:
        gateway = start_gateway(three(port(quick_stand_in), mind.port, voice.port))
        async with talk(gateway) as connection:
            await connection.response.create()
            await until_event(connection, "response.output_audio.delta")
        await until(lambda: mind.aborted == voice.aborted == 1)
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)
        (turn,) = await until(lambda: turns(gateway))
        assert turn["status"] == "cancelled"


async def test_commit_by_hand_and_an_answer_in_text(gateway: Gateway) -> None:
    async with talk(gateway, turn_detection=None) as connection:
        await connection.input_audio_buffer.append(audio=base(tone(500)))
        await connection.input_audio_buffer.commit()
        await connection.response.create(response={"output_modalities": ["text"]})
        seen = await until_event(connection, "response.done")
    written = "".join(one.delta for one in seen if one.type == "response.output_text.delta")
    assert written
    assert seen[-1].response.output[0].content[0].text == written
    assert "response.output_audio.delta" not in kinds(seen)


async def test_cleared_sound_is_never_written_down(gateway: Gateway) -> None:
    async with talk(gateway, turn_detection=None) as connection:
        await connection.input_audio_buffer.append(audio=base(tone(500)))
        await connection.input_audio_buffer.clear()
        await connection.input_audio_buffer.commit()
        error = (await until_event(connection, "error"))[-1].error
    assert error.code == "input_audio_buffer_commit_empty"


async def test_the_official_clients_events_are_its_own_types(gateway: Gateway) -> None:
    async with talk(gateway) as connection:
        await said_of(connection, "Hello there.")
        await connection.response.create(event_id="mine")
        seen = await until_event(connection, "response.done")
    for event in seen:
        assert type(event).model_validate(event.model_dump(exclude_unset=True)).type == event.type


@pytest.mark.parametrize(
    ("part", "kind", "status"),
    [("mind", "response.done", "failed"), ("voice", "response.done", "failed")],
)
async def test_a_broken_part_is_an_error_and_the_session_goes_on(
    stand_in_worker: StartStandIn, start_gateway: StartGateway, part: str, kind: str, status: str
) -> None:
    workers = {name: stand_in_worker("--tokens-per-second", "0") for name in ("mind", "voice")}
    gateway = start_gateway(three(1, port(workers["mind"]), port(workers["voice"])))
    workers[part].fail(fault="status", status=500)
    async with talk(gateway) as connection:
        await said_of(connection, "Hello there.")
        await connection.response.create()
        assert (await until_event(connection, kind))[-1].response.status == status
        assert (await until_event(connection, "error"))[-1].error.message
        await connection.response.create()
        assert (await until_event(connection, kind))[-1].response.status == "completed"


async def test_speech_that_cannot_be_written_down_is_told(
    stand_in_worker: StartStandIn, start_gateway: StartGateway
) -> None:
    worker = stand_in_worker("--tokens-per-second", "0")
    gateway = start_gateway(three(1, port(worker), port(worker)))
    async with talk(gateway) as connection:
        await connection.input_audio_buffer.append(audio=base(said()))
        failed = "conversation.item.input_audio_transcription.failed"
        assert (await until_event(connection, failed))[-1].error.message
        await until_event(connection, "error")
        await connection.response.create()
        await until_event(connection, "response.done")


async def test_a_part_that_says_nothing_is_given_up(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    async with scripted_worker([WAIT]) as mind:
        tables = three(port(quick_stand_in), mind.port, mind.port)
        gateway = start_gateway(tables, gateway_socket_leg_seconds_max=0.3)
        async with talk(gateway) as connection:
            await connection.response.create()
            done = (await until_event(connection, "response.done"))[-1].response
            await until(lambda: mind.aborted == 1)
        assert done.status_details.error.code == "upstream_timeout"


async def test_one_response_at_a_time(quick_stand_in: StandIn, start_gateway: StartGateway) -> None:
    async with scripted_worker(TALKING) as mind:
        gateway = start_gateway(three(port(quick_stand_in), mind.port, port(quick_stand_in)))
        async with talk(gateway) as connection:
            await connection.response.create()
            await connection.response.create(event_id="second")
            error = (await until_event(connection, "error"))[-1].error
    assert error.code == "conversation_already_has_active_response"
    assert error.event_id == "second"


async def test_unknown_models_are_told_and_change_nothing(gateway: Gateway) -> None:
    async with talk(gateway) as connection:
        await connection.session.update(session={"type": "realtime", "model": "nothing"})
        error = (await until_event(connection, "error"))[-1].error
        assert (error.code, error.param) == ("model_not_found", "session.model")
        await connection.response.create()
        assert (await until_event(connection, "response.done"))[-1].response.status == "completed"


async def test_a_stopped_account_ends_the_session(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    tables = three(*[port(quick_stand_in)] * 3)
    gateway = start_gateway(tables)
    async with talk(gateway) as connection:
        tables.accounts = [AccountRow(OWNER, stopped=True)]
        gateway.change(tables)
        assert (await until_event(connection, "error"))[-1].error.code == "insufficient_quota"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4402


async def test_each_part_is_paid_for_and_the_session_ends_with_the_money(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    """There is money for one part at a time: the voice is one too many while the model writes."""
    money = 8_333_334 + 2_000_000  # 30 s of one GPU at a dollar an hour, and what is used meanwhile
    tables = three(*[port(quick_stand_in)] * 3, pool=True)
    async with scripted_worker(TALKING) as mind, brain_double(tables, **{OWNER: money}) as brain:
        tables.replicas[1].link.port = mind.port
        gateway = start_gateway(**brain.settings(), gateway_slice_wait_seconds=20)
        await until(lambda: gateway.metric("ganglion_gateway_ready") == 1)
        async with talk(gateway) as connection:
            await connection.input_audio_buffer.append(audio=base(said()))
            seen = await until_event(connection, "error")
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
        assert "conversation.item.input_audio_transcription.completed" in kinds(seen)
        assert seen[-1].error.code == "insufficient_quota"
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4402
        await until(lambda: mind.aborted == 1)
        await until(lambda: {one.model for one in brain.segments.values()} == {EARS, MIND})


async def test_a_revoked_key_ends_the_session(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    tables = three(*[port(quick_stand_in)] * 3)
    gateway = start_gateway(tables)
    async with talk(gateway) as connection:
        tables.keys = []
        gateway.change(tables)
        with pytest.raises(ConnectionClosed) as closed:
            await until_event(connection, "never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def loads_websockets(gateway: Gateway) -> bool:
    """By its compiled part, which lies in the memory of a process that has loaded it."""
    with open(f"/proc/{gateway.process.pid}/maps") as maps:
        return "/websockets/" in maps.read()


async def test_a_gateway_pays_for_websockets_with_the_first(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(snapshot(port(quick_stand_in)))
    gateway.post({"model": "m", "messages": []})
    assert not loads_websockets(gateway)
    async with plain(gateway, "/v1/realtime") as socket:
        await socket.recv()
    assert loads_websockets(gateway)
