"""Every class of error to who speaks: the official clients in a conversation, and dictation, which
has no client of a vendor's. In front of the stand-in, and of real vLLM that hears and thinks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.contract.clients import plan
from tests.contract.clients.house import House, Served, house
from tests.contract.clients.plan import CHAT, GOOD, HEAR
from tests.contract.clients.test_voice import AT_16_KHZ, node_talks, of, said_16
from tests.support.gateway import Gateway
from tests.support.realtime import base, client
from tests.support.realtime_talk import close_code, events_until, plain, until_event
from tests.support.standin import StandIn
from tests.support.vllm import VllmServer

pytestmark = pytest.mark.feature("A8", "A9")
SPEAKERS = ("python", "node", "dictation")
SECONDS_MAX = 30
TOO_LONG = bytes((1 << 20) + 2)  # for one message, as sound or as text
Told = tuple[str, int | str]  # refused before the upgrade with a status; or an error event's code


@dataclass(frozen=True)
class Case:
    """Whose key, and which deployment answers: one that works where it says nothing."""

    told: Told
    key: str = GOOD
    model: str = ""
    impatient: bool = False
    wrong: bool = False  # what the worker itself finds fault with
    long: bool = False

    @property
    def sound(self) -> bytes:
        return TOO_LONG if self.long else said_16()


CASES = {
    "400": Case(("error", "worker_refused"), wrong=True),
    "401": Case(("refused", 401), key=plan.WRONG),
    "402": Case(("error", "insufficient_quota"), key=plan.POOR),
    "403": Case(("refused", 403), key=plan.NARROW),
    "404": Case(("error", "model_not_found"), model=plan.UNKNOWN),
    "413": Case(("error", "too_large"), long=True),
    "429": Case(("error", "rate_limit_exceeded"), key=plan.SPENT),
    "502": Case(("error", "upstream_failed"), model="broken"),
    "503": Case(("error", "no_ready_replica"), model=plan.ABSENT),
    "504": Case(("error", "upstream_timeout"), model="silent", impatient=True),
    plan.CUT: Case(("error", "upstream_failed"), model=plan.CUT),
}
TOLD = {name: case.told for name, case in CASES.items()}


class Talker:
    """One kind of client, and what each case is to it."""

    def __init__(self, place: House, speaker: str, folder: Path) -> None:
        self._place, self._speaker, self._folder = place, speaker, folder
        self._keys = place.keys()

    async def told(self, case: Case) -> Told:
        gateway = self._place.impatient if case.impatient else self._place.gateway
        try:
            match self._speaker:
                case "python":
                    return await self._python(gateway, case)
                case "node":
                    return await self._node(gateway, case)
            return await self._dictation(gateway, case)
        except InvalidStatus as refused:
            return "refused", refused.response.status_code

    async def _python(self, gateway: Gateway, case: Case) -> Told:
        mind = self._model(CHAT, case)
        async with (
            client(gateway.url, self._keys[case.key]) as official,
            official.realtime.connect(model=mind) as connection,
        ):
            with suppress(ConnectionClosed):  # an account without credit is told at once
                await connection.session.update(session=self._session(case))
                await connection.input_audio_buffer.append(audio=base(case.sound))
            found = (await until_event(connection, "error", SECONDS_MAX))[-1].error
        return "error", str(found.code)

    async def _node(self, gateway: Gateway, case: Case) -> Told:
        events = await node_talks(
            gateway,
            self._folder,
            case.sound,
            key=self._keys[case.key],
            model=self._model(CHAT, case),
            session=self._session(case),
            until="error",
        )
        for refused in of(events, "refused"):
            return "refused", refused["status"]
        raised = of(events, "raised")[0]
        assert raised["name"] == "OpenAIRealtimeError"
        return "error", raised["code"]

    async def _dictation(self, gateway: Gateway, case: Case) -> Told:
        query = f"model={self._model(HEAR, case)}&sample_rate=16000"
        query += "&language=nowhere" if case.wrong else ""
        path = f"/v1/audio/transcriptions/stream?{query}"
        async with plain(gateway, path, self._keys[case.key]) as socket:
            with suppress(ConnectionClosed):
                await socket.send(case.sound)
                await socket.send(json.dumps({"type": "session.end"}))
            seen, _ = await events_until(socket, "error", SECONDS_MAX)
            assert not case.long or await close_code(socket) == 1009
        return "error", seen[-1]["error"]["code"]

    def _model(self, route: str, case: Case) -> str:
        working = next(one.name for one in self._place.workers if route in one.routes)
        if case.model in ("broken", "silent", plan.CUT):
            return plan.failing_model(case.model, self._speaker, route)
        return case.model or working

    def _session(self, case: Case) -> Any:
        """In text: no part speaks."""
        ears = next(one.name for one in self._place.workers if HEAR in one.routes)
        return {
            "type": "realtime",
            "model": self._model(CHAT, case),
            "output_modalities": ["text"],
            "max_output_tokens": 1_000_000 if case.wrong else 12,
            "audio": {"input": {"transcription": {"model": ears}, **AT_16_KHZ}},
        }


@pytest.fixture(scope="module")
def place(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    worker = Served(quick_stand_in.url, quick_stand_in.model, (CHAT, HEAR))
    with house(tmp_path_factory.mktemp("house"), SPEAKERS, worker) as made:
        yield made


@pytest.mark.usefixtures("node_walk")
@pytest.mark.parametrize("speaker", SPEAKERS)
async def test_what_is_wrong_is_told(place: House, speaker: str, tmp_path: Path) -> None:
    talker = Talker(place, speaker, tmp_path)
    assert {name: await talker.told(case) for name, case in CASES.items()} == TOLD


@pytest.mark.long
@pytest.mark.usefixtures("node_walk")
async def test_real_vllm_says_the_same(
    vllm_server: VllmServer, vllm_speech_server: VllmServer, tmp_path: Path
) -> None:
    thinks = Served(vllm_server.url, vllm_server.model, (CHAT,))
    hears = Served(vllm_speech_server.url, vllm_speech_server.model, (HEAR,))
    with house(tmp_path / "house", SPEAKERS, thinks, hears) as made:
        for speaker in SPEAKERS:
            talker = Talker(made, speaker, tmp_path)
            assert {name: await talker.told(case) for name, case in CASES.items()} == TOLD
