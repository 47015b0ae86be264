"""The stand-in worker's realtime transcription, asked by an ordinary WebSocket client."""

from __future__ import annotations

import base64
import json
import random
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until

PATH = "/v1/realtime"
SECONDS_MAX = 60


def call(worker: StandIn, **more: Any) -> ClientConnection:
    url = worker.url.replace("http", "ws") + PATH
    return connect(url, open_timeout=SECONDS_MAX, **more)


def say(client: ClientConnection, kind: str, **more: object) -> None:
    client.send(json.dumps({"type": kind, **more}))


def heard(client: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(client.recv(SECONDS_MAX))
    return event


def hear(client: ClientConnection, sound: bytes) -> None:
    audio = base64.b64encode(sound).decode()
    say(client, "input_audio_buffer.append", audio=audio)


def transcribed(worker: StandIn, pieces: list[bytes]) -> list[dict[str, Any]]:
    """All events of one utterance, the last of them ``transcription.done``."""
    with call(worker) as client:
        assert heard(client)["type"] == "session.created"
        say(client, "session.update", model=worker.model)
        say(client, "input_audio_buffer.commit")
        for piece in pieces:
            hear(client, piece)
        say(client, "input_audio_buffer.commit", final=True)
        events = [heard(client)]
        while events[-1]["type"] == "transcription.delta":
            events.append(heard(client))
    return events


def test_what_is_heard_is_said_in_deltas_and_counted(quick_stand_in: StandIn) -> None:
    sound = random.Random(7).randbytes(70_000)
    *deltas, done = transcribed(quick_stand_in, [sound[:20_000], sound[20_000:]])
    assert done["type"] == "transcription.done"
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert done["usage"]["completion_tokens"] == len(deltas) == 4
    assert transcribed(quick_stand_in, [sound])[-1]["text"] == done["text"]


def test_one_connection_takes_one_utterance_after_another(quick_stand_in: StandIn) -> None:
    with call(quick_stand_in) as client:
        heard(client)
        say(client, "session.update", model=quick_stand_in.model)
        for _ in range(2):
            hear(client, bytes(16_000))
            say(client, "input_audio_buffer.commit")
            say(client, "input_audio_buffer.commit", final=True)
            kinds = [heard(client)["type"], heard(client)["type"]]
            assert kinds == ["transcription.delta", "transcription.done"]


def test_what_is_wrong_is_told_and_the_connection_stays(quick_stand_in: StandIn) -> None:
    with call(quick_stand_in) as client:
        heard(client)
        client.send("nonsense")
        for event in (
            {"type": "session.update"},
            {"type": "session.update", "model": "nope"},
            {"type": "input_audio_buffer.commit"},
            {"type": "input_audio_buffer.append", "audio": "%"},
            {"type": "sing"},
        ):
            client.send(json.dumps(event))
        codes = [heard(client)["code"] for _ in range(6)]
    assert codes == [
        "invalid_json",
        "invalid_event",
        "model_not_found",
        "model_not_validated",
        "invalid_audio",
        "unknown_event",
    ]


async def test_a_client_that_leaves_while_it_is_heard_is_an_abort(
    stand_in_worker: StartStandIn,
) -> None:
    worker = stand_in_worker("--first-token-ms", "3600000")
    with call(worker) as client:
        heard(client)
        say(client, "session.update", model=worker.model)
        hear(client, bytes(16_000))
        say(client, "input_audio_buffer.commit")
        await until(lambda: worker.state()["running"] == 1)
        left_ns = time.monotonic_ns()
        client.socket.close()
    await until(lambda: worker.state()["requests_aborted"] == 1)
    (abort,) = worker.state()["aborts"]
    assert abort["path"] == PATH
    assert left_ns <= abort["at_monotonic_ns"] <= time.monotonic_ns()


def test_a_refused_handshake_has_its_status(quick_stand_in: StandIn) -> None:
    quick_stand_in.fail(fault="status", status=503, path=PATH)
    with pytest.raises(InvalidStatus) as refused:
        call(quick_stand_in)
    assert refused.value.response.status_code == 503


@pytest.mark.parametrize("fault", [{"fault": "cut"}, {"fault": "garbage"}])
def test_a_broken_connection_is_broken_for_the_client(
    quick_stand_in: StandIn, fault: dict[str, Any]
) -> None:
    quick_stand_in.fail(**fault, after_bytes=10, path=PATH)
    with call(quick_stand_in) as client, pytest.raises(ConnectionClosedError):
        heard(client)


def test_an_error_in_an_utterance_is_told(quick_stand_in: StandIn) -> None:
    quick_stand_in.fail(fault="error_then_done", after_tokens=1, path=PATH)
    delta, error = transcribed(quick_stand_in, [bytes(48_000)])
    assert delta["type"] == "transcription.delta"
    assert (error["type"], error["code"]) == ("error", "processing_error")


def test_the_key_is_asked_for(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--api-key", "secret")
    with pytest.raises(InvalidStatus):
        call(worker)
    with call(worker, additional_headers={"authorization": "Bearer secret"}) as client:
        assert heard(client)["type"] == "session.created"
