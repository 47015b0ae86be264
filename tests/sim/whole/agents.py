"""An agent on the network: it enrols, opens sessions and beats at a brain process's own doors.

The messages are the wire's own bytes, signed as the protocol asks, and the post may lose, double,
delay and reorder them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request

from brain.fleet import calls
from brain.fleet.core import ALIVE
from brain.marketplace import routes as marketplace_routes
from kernel.clock import NS
from kernel.errors import Conflict, GanglionError
from kernel.wire import decode, encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    BeatAnswer,
    EnrollAnswer,
    EnrollRequest,
    HostReading,
    LeaseSeenState,
    SessionAnswer,
    SessionRequest,
    mac,
    session_input,
)
from tests.sim.whole.brain import Web
from tests.sim.whole.hosts import Host
from tests.sim.whole.trace import Trace

BEAT_NS = 10 * NS
TELLS = ALIVE | {LeaseSeenState.GONE}


@dataclass
class Letter:
    """One beat on its way."""

    beat: Beat
    body: bytes
    headers: dict[str, str]


@dataclass
class Agent:
    """The agent's process and its link. ``token`` is spent at the first enrolment."""

    host: Host
    key: Ed25519PrivateKey
    token: str
    trace: Trace
    node_id: str = ""
    session: SessionAnswer | None = None
    number: int = 0
    nonce: int = 0
    cut_until_ns: int = 0
    due_ns: int = 0
    late: list[Letter] = field(default_factory=list)
    late_answers: list[tuple[Beat, BeatAnswer]] = field(default_factory=list)
    refused: str = ""

    @property
    def name(self) -> str:
        return self.host.name

    def caller(self, web: Web) -> Callable[[], Awaitable[None]]:
        return lambda: self._call(web)

    def postman(self, web: Web) -> Callable[[], Awaitable[None]]:
        return lambda: self._deliver_late(web)

    async def _call(self, web: Web) -> None:
        """One round: whatever comes next towards a beat that is answered."""
        try:
            if not self.node_id:
                await self._enrol(web)
            if self.session is None:
                await self._open(web)
            await self._beat(web)
        except GanglionError as error:
            self._note(f"refused: {error.error_code}")
            self.refused = error.error_code
            if error.error_code != "replayed":
                self.session = None
        except (OSError, TimeoutError) as error:
            self._note(f"no answer: {error}")
            self.session = None

    async def _deliver_late(self, web: Web) -> None:
        """Old letters and old answers arrive after newer ones."""
        letters, self.late = self.late, []
        answers, self.late_answers = self.late_answers, []
        for beat, answer in answers:
            self._note("a late answer comes")
            self.host.take_answer(beat, answer)
        for letter in letters:
            try:
                await self._post(web, letter)
                self._note("a late beat was taken")
            except (GanglionError, OSError, TimeoutError) as error:
                self._note(f"a late beat was refused: {error}")

    def restart(self, now_ns: int) -> None:
        """A new process of the agent on the same host."""
        self.host.restart_agent(now_ns)
        self.session, self.number = None, 0
        self.late_answers.clear()

    def reboot(self, now_ns: int) -> None:
        self.host.reboot(now_ns)
        self.session, self.number = None, 0
        self.late_answers.clear()

    async def _enrol(self, web: Web) -> None:
        request = EnrollRequest(
            token=self.token,
            public_key=self.key.public_key().public_bytes_raw().hex(),
            agent_version="1",
            host=HostReading(hostname=self.name, os="Debian 12", cpu_count=8),
            gpus=self.host.gpus,
        )
        answer = await marketplace_routes.enrol(_request(web, "/agent/v1/enroll", encode(request)))
        if self._answer_lost():
            return self._lost("enrolment")
        self.node_id = decode(bytes(answer.body), EnrollAnswer).node_id
        self._note(f"enrolled as {self.node_id}")
        return None

    async def _open(self, web: Web) -> None:
        self.nonce += 1
        request = SessionRequest(
            node_id=self.node_id,
            host_boot_id=self.host.boot_id,
            agent_start_id=self.host.start_id,
            nonce=f"{self.host.start_id}-{self.nonce}",
            signature="0" * 128,
        )
        request.signature = self.key.sign(session_input(request)).hex()
        answer = await calls.session(_request(web, "/agent/v1/session", encode(request)))
        if self._answer_lost():
            return self._lost("session")
        self.session = decode(bytes(answer.body), SessionAnswer)
        return None

    async def _beat(self, web: Web) -> None:
        faults = self.host.faults
        letter = self._write(web)
        if faults.strikes("beat_lost"):
            return self._note("beat lost")
        if faults.strikes("beat_late"):
            self.late.append(letter)
            return self._note("beat held up")
        answer = await self._post(web, letter)
        if faults.strikes("beat_doubled"):
            await self._double(web, letter)
        if self._answer_lost():
            return self._note("answer lost")
        if faults.strikes("answer_late"):
            self.late_answers.append((letter.beat, answer))
            return self._note("answer held up")
        self.host.take_answer(letter.beat, answer)
        return None

    async def _double(self, web: Web, letter: Letter) -> None:
        try:
            await self._post(web, letter)
        except Conflict:
            return
        raise AssertionError("the same beat was taken twice")

    def _write(self, web: Web) -> Letter:
        assert self.session is not None, "opened the line before"
        self.number += 1
        beat = self.host.beat(self.node_id, web.ground.clock.monotonic_ns())
        body = encode(beat)
        key = bytes.fromhex(self.session.session_key)
        headers = {
            SESSION_HEADER: self.session.session_id,
            SEQ_HEADER: str(self.number),
            MAC_HEADER: mac(key, "POST", "/agent/v1/beat", self.number, body),
        }
        return Letter(beat, body, headers)

    async def _post(self, web: Web, letter: Letter) -> BeatAnswer:
        request = _request(web, "/agent/v1/beat", letter.body, letter.headers)
        try:
            answer = await calls.beat(request)
        finally:
            for one in letter.beat.leases:
                if one.state in TELLS:
                    web.ground.told_ns[one.lease_id] = web.ground.clock.now_ns()
        return decode(bytes(answer.body), BeatAnswer)

    def _answer_lost(self) -> bool:
        return self.host.faults.strikes("answer_lost")

    def _lost(self, what: str) -> None:
        raise ConnectionResetError(f"the answer to the {what} was lost")

    def _note(self, what: str) -> None:
        self.trace.add(self.name, what)


def _request(web: Web, path: str, body: bytes, headers: dict[str, str] | None = None) -> Request:
    """What Starlette hands to a route."""
    web.check()
    sent = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": sent,
        "app": web,
    }
    return Request(scope, receive)  # type: ignore[arg-type]
