"""Sound in, words out; text in, sound out, over WebSockets; and the limits of every WebSocket."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.gateway import KEY, Gateway, StartGateway, launch
from tests.support.realtime import EARS, VOICE, base, said, silence, three, tone
from tests.support.realtime_talk import Event, close_code, events_until, plain, port, turns
from tests.support.scripted_worker import WAIT, Script, answer, chunk, scripted_worker, stream_head
from tests.support.standin import StandIn
from tests.support.wait import stretch, until
from tests.unit.inference import sse

pytestmark = pytest.mark.feature("A8")
HEARS = f"/v1/audio/transcriptions/stream?model={EARS}"
SPEAKS = f"/v1/audio/speech/stream?model={VOICE}"
REALTIME = "/v1/realtime"
SOUND = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tables = three(*[port(quick_stand_in)] * 3)
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


def event(kind: str, **members: object) -> str:
    return json.dumps({"type": kind, **members})


async def test_sound_in_words_out(gateway: Gateway) -> None:
    async with plain(gateway, HEARS) as socket:
        for _ in range(2):
            await socket.send(said())
        await socket.send(event("session.end"))
        seen, _ = await events_until(socket, "session.ended")
        assert await close_code(socket) == 1000
    done = [one for one in seen if one["type"] == "transcript.text.done"]
    assert [one["segment"] for one in done] == [1, 2]
    deltas = [one for one in seen if one["type"] == "transcript.text.delta"]
    assert "".join(one["delta"] for one in deltas if one["segment"] == 1) == done[0]["text"]
    assert done[0]["start_ms"] < 400 < 1000 < done[0]["end_ms"]


async def test_what_is_being_said_is_written_down_meanwhile(gateway: Gateway) -> None:
    async with plain(gateway, f"{HEARS}&interim_ms=500") as socket:
        for _ in range(20):
            await socket.send(tone(100))
        seen, _ = await events_until(socket, "transcript.text.partial")
    assert seen[-1]["text"]
    assert seen[-1]["segment"] == 1


async def test_pieces_cut_by_hand_at_16_khz(gateway: Gateway) -> None:
    async with plain(gateway, f"{HEARS}&turn_detection=none&sample_rate=16000") as socket:
        await socket.send(event("input_audio_buffer.append", audio=base(tone(500, rate=16000))))
        await socket.send(event("input_audio_buffer.commit"))
        seen, _ = await events_until(socket, "transcript.text.done")
    assert (seen[-1]["start_ms"], seen[-1]["end_ms"]) == (0, 500)


async def test_text_in_sound_out(gateway: Gateway) -> None:
    async with plain(gateway, SPEAKS) as socket:
        for piece in ("The first sent", "ence is here. The sec", "ond one too."):
            await socket.send(event("input_text.append", text=piece))
        await socket.send(event("session.end"))
        seen, sound = await events_until(socket, "session.ended")
    texts = [one["text"] for one in seen if one["type"] == "speech.audio.started"]
    assert texts == ["The first sentence is here.", "The second one too."]
    assert len(sound) > 10_000
    await until(lambda: models_of(turns(gateway)[-1:]) == [VOICE] * 2)


def models_of(told: list[Event]) -> list[str]:
    return [leg["model"] for turn in told for leg in turn["legs"]]


async def test_pieces_are_told_in_the_order_they_were_said(start_gateway: StartGateway) -> None:
    """They are written down side by side, and a short one may be done before a long one."""

    def script(number: int) -> Script:
        words = chunk(sse.chunk({"content": f"piece {number + 1}"}))
        rest = [chunk(sse.STOP + sse.DONE), chunk(b"")]
        return [stream_head(), *([words, 0.4] if number == 0 else [words]), *rest]

    async with scripted_worker(script) as ears:
        gateway = start_gateway(three(ears.port, 1, 1))
        async with plain(gateway, HEARS) as socket:
            for _ in range(3):
                await socket.send(said())
            await socket.send(event("session.end"))
            seen, _ = await events_until(socket, "session.ended")
    told = [(one["segment"], one["type"]) for one in seen if "transcript" in one["type"]]
    parts = ("transcript.text.delta", "transcript.text.done")
    assert told == [(number, part) for number in (1, 2, 3) for part in parts]


async def test_what_a_speaker_said_who_hangs_up_is_in_the_log(start_gateway: StartGateway) -> None:
    async with scripted_worker([WAIT]) as ears:
        gateway = start_gateway(three(ears.port, 1, 1))
        async with plain(gateway, HEARS) as socket:
            await socket.send(said())
            await until(lambda: len(ears.requests) == 1)
        (turn,) = await until(lambda: turns(gateway))
        await until(lambda: ears.aborted == 1)
        (piece,) = gateway.segments()
    assert (turn["status"], turn["sound_in_ms"] > 500) == ("cancelled", True)
    told = [(leg["leg"], leg["status"], leg["request_id"]) for leg in turn["legs"]]
    assert told == [("transcription", 499, piece.request_id)]


async def test_text_that_is_cleared_stops_the_worker(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    async with scripted_worker([SOUND + chunk(bytes(4800)), WAIT]) as voice:
        gateway = start_gateway(three(1, 1, voice.port))
        async with plain(gateway, SPEAKS) as socket:
            await socket.send(event("input_text.append", text="A sentence is here. "))
            while not isinstance(await socket.recv(), bytes):
                pass
            await socket.send(event("input_text.clear"))
            await until(lambda: voice.aborted == 1, 2)
            seen, _ = await events_until(socket, "input_text.cleared")
            assert "speech.audio.done" not in [one["type"] for one in seen]


@pytest.mark.parametrize("path", [HEARS, SPEAKS, REALTIME])
@pytest.mark.parametrize("sent", ["no json", "[]", "{}", '{"type": 1}', '{"type": "nothing"}'])
async def test_nonsense_is_an_error_and_the_session_goes_on(
    gateway: Gateway, path: str, sent: str
) -> None:
    async with plain(gateway, path) as socket:
        for _ in range(2):
            await socket.send(sent)
            seen, _ = await events_until(socket, "error")
            assert seen[-1]["error"]["code"] in ("invalid_event", "unknown_event")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/transcriptions/stream?model=nothing",
        "/v1/audio/transcriptions/stream",
        "/v1/audio/speech/stream?model=nothing",
        "/v1/realtime?model=nothing",
    ],
)
async def test_an_unknown_model_is_told(gateway: Gateway, path: str) -> None:
    async with plain(gateway, path) as socket:
        seen, _ = await events_until(socket, "error")
    assert seen[-1]["error"]["code"] == "model_not_found"


async def test_a_browser_gives_its_key_as_a_subprotocol(gateway: Gateway) -> None:
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    async with plain(gateway, REALTIME, None, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        await events_until(socket, "session.created")


@pytest.mark.parametrize("path", [HEARS, SPEAKS, REALTIME])
async def test_a_wrong_key_is_refused_before_the_upgrade(gateway: Gateway, path: str) -> None:
    for key in (None, "gk_wrong"):
        with pytest.raises(InvalidStatus) as refused:
            async with plain(gateway, path, key):
                pass
        assert refused.value.response.status_code == 401


def test_a_plain_request_is_told_to_upgrade(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    told = httpx.get(gateway.url + REALTIME, headers=headers)
    assert (told.status_code, told.json()["error"]["code"]) == (426, "upgrade_required")


def test_an_old_websocket_is_refused(gateway: Gateway) -> None:
    headers = {
        "authorization": f"Bearer {KEY}",
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "8",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert httpx.get(gateway.url + REALTIME, headers=headers).status_code == 400


async def closes_with(gateway: Gateway, sent: str | bytes, path: str = REALTIME) -> int | None:
    """The code of the close that answers a message."""
    async with plain(gateway, path) as socket:
        await socket.send(sent)
        return await close_code(socket)


async def test_a_message_that_is_too_long_ends_it(gateway: Gateway) -> None:
    assert await closes_with(gateway, "x" * (1 << 20) + "x") == 1009


@pytest.mark.parametrize("path", [f"{HEARS}&turn_detection=none", SPEAKS, REALTIME])
async def test_why_a_message_is_too_long_is_told_before_its_end(
    gateway: Gateway, path: str
) -> None:
    async with plain(gateway, path, ping_interval=None) as socket:
        await socket.send(bytes((1 << 20) + 2))
        seen, _ = await events_until(socket, "error")
        told = seen[-1]["error"]
        assert (told["type"], told["code"]) == ("invalid_request_error", "too_large")
        assert "1048576 bytes" in told["message"]
        assert await close_code(socket) == 1009
    await until(lambda: gateway.metric("ganglion_gateway_connections") == 1)  # that of the question


async def test_binary_is_not_what_an_agent_takes(gateway: Gateway) -> None:
    assert await closes_with(gateway, b"sound") == 1003


async def test_silence_and_long_lives_end(start_gateway: StartGateway) -> None:
    for limit in ("gateway_socket_idle_seconds_max", "gateway_socket_total_seconds_max"):
        gateway = start_gateway(three(1, 1, 1), **{limit: 0.2})
        async with plain(gateway, REALTIME) as socket:
            assert await close_code(socket) == 4408


async def test_so_many_at_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1), gateway_socket_max=1)
    async with plain(gateway, REALTIME):
        with pytest.raises(InvalidStatus) as refused:
            async with plain(gateway, REALTIME):
                pass
    assert refused.value.response.status_code == 503


async def test_a_client_that_answers_no_ping_is_dropped(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1), gateway_socket_ping_seconds=1)
    url = f"ws://127.0.0.1:{gateway.port}{REALTIME}"
    headers = {"authorization": f"Bearer {KEY}"}
    async with connect(url, additional_headers=headers, close_timeout=0.1) as alive:
        await stretch(3)  # longer than one that does not answer is kept
        await alive.send(event("nothing"))
        await events_until(alive, "error")
        assert gateway.metric("ganglion_gateway_connections") == 2  # this and that of the question
        alive.transport.pause_reading()
        await until(lambda: gateway.metric("ganglion_gateway_connections") == 1)


async def test_many_messages_are_read_in_time_and_none_is_lost(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    tables = three(*[port(quick_stand_in)] * 3)
    gateway = start_gateway(tables, gateway_socket_messages_per_second_max=40)
    async with plain(gateway, f"{HEARS}&turn_detection=none") as socket:
        for _ in range(50):
            await socket.send(silence(10))
        await socket.send(event("input_audio_buffer.commit"))
        seen, _ = await events_until(socket, "transcript.text.done")
    assert seen[-1]["end_ms"] == 500


async def test_more_sound_than_is_kept_is_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1), gateway_socket_sound_seconds_max=1)
    async with plain(gateway, f"{HEARS}&turn_detection=none") as socket:
        await socket.send(silence(1200))
        seen, _ = await events_until(socket, "error")
        told = seen[-1]["error"]
        assert (told["type"], told["code"]) == ("invalid_request_error", "input_audio_buffer_full")
        await socket.send(event("input_audio_buffer.clear"))  # the session goes on
        await events_until(socket, "input_audio_buffer.cleared")


async def test_a_piece_that_a_worker_finds_too_large_is_refused_alone(
    start_gateway: StartGateway,
) -> None:
    refusal = b'{"error": {"message": "Maximum file size exceeded", "type": "x", "code": 413}}'
    async with scripted_worker([answer(refusal, status=413)]) as ears:
        gateway = start_gateway(three(ears.port, 1, 1))
        async with plain(gateway, f"{HEARS}&turn_detection=none") as socket:
            for _ in range(2):
                await socket.send(tone(500))
                await socket.send(event("input_audio_buffer.commit"))
                seen, _ = await events_until(socket, "error")
                assert seen[-1]["error"]["code"] == "worker_refused"
            await socket.send(event("session.end"))
            await events_until(socket, "session.ended")


async def test_a_slow_reader_slows_the_worker(start_gateway: StartGateway) -> None:
    pieces = [chunk(bytes(100_000))] * 300
    async with scripted_worker([SOUND, *pieces, chunk(b"")]) as voice:
        gateway = start_gateway(three(1, 1, voice.port), cold=True)
        async with plain(gateway, SPEAKS, max_queue=1) as socket:
            await socket.send(event("input_text.append", text="A sentence is here. "))
            await socket.send(event("session.end"))
            await until(lambda: len(voice.requests) == 1)
            await stretch(0.5)  # the point of the test: nobody reads
            assert memory_mib(gateway) < 80
            _, sound = await events_until(socket, "session.ended", 60)
    assert len(sound) == 30_000_000


async def test_a_gateway_that_stops_says_so(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1))
    async with plain(gateway, REALTIME) as socket:
        await socket.recv()
        gateway.process.terminate()
        assert await close_code(socket) == 1001


async def test_who_is_speaking_when_it_stops_may_finish(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(three(port(quick_stand_in), 1, 1))
    async with plain(gateway, HEARS) as silent, plain(gateway, HEARS) as socket:
        await socket.send(silence(400) + tone(600))
        await events_until(socket, "input_audio_buffer.speech_started")
        gateway.process.terminate()
        assert await close_code(silent) == 1001
        await socket.send(tone(300) + silence(800))
        seen, _ = await events_until(socket, "transcript.text.done")
        assert seen[-1]["end_ms"] > 1200
        assert await close_code(socket) == 1001


async def test_who_speaks_on_and_on_is_told_when_the_time_is_over(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(three(1, 1, 1), gateway_drain_seconds=0.3)
    async with plain(gateway, HEARS) as socket:
        await socket.send(silence(400) + tone(600))
        await events_until(socket, "input_audio_buffer.speech_started")
        gateway.process.terminate()
        assert await close_code(socket) == 1001


def memory_mib(gateway: Gateway) -> float:
    with open(f"/proc/{gateway.process.pid}/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
