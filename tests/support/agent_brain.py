"""A small honest brain for the agent's tests: it keeps the wire contract and checks every seal.

It holds one node's desired set in memory and renews what is in it. The real brain's routes are
tested with the real agent elsewhere; here a test decides what the brain says.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kernel.errors import Conflict, GanglionError, NotFound, Unauthenticated, problem
from kernel.wire import decode, encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    BeatAnswer,
    DesiredLease,
    DesiredSet,
    DesiredState,
    EnrollAnswer,
    EnrollRequest,
    GatewayAddress,
    LaunchSpec,
    LeaseSeen,
    LogBatch,
    SecretsAnswer,
    SecretsRequest,
    SessionAnswer,
    SessionRequest,
    mac,
    session_input,
)
from kernel.wire.keys import LeaveAnswer, LeaveRequest, RotateAnswer, RotateRequest, rotate_input
from tests.support.wait import free_port, until

NODE_ID = "node_" + "1" * 32


@dataclass
class Session:
    key: bytes
    start_id: str
    highest: int = 0


@dataclass
class AgentBrain:
    """``away`` answers 503; ``stop`` and ``start`` make the port itself go and come."""

    installation_id: str = "installation-a"
    token: str = "join-token"
    beat_seconds: int = 1
    session_seconds: int = 3600
    away: bool = False
    turned_away: int = 0
    lose_enrol_answers: int = 0
    renewing: bool = True
    public_key: str | None = None
    generation: int = 0
    leases: dict[str, DesiredLease] = field(default_factory=dict)
    gateways: list[GatewayAddress] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    sessions_opened: int = 0
    waiting: int = 0  # long polls that are open
    polls: int = 0  # and all that were
    enrolments: list[EnrollRequest] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, SecretsAnswer] = field(default_factory=dict)  # by lease
    secrets_asked: list[SecretsRequest] = field(default_factory=list)
    drop_volumes: list[str] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    file: bytes = b""  # GET /agent/file
    update_to: str | None = None
    deaf_to: str = ""  # beats of agents that run from this file are refused
    lose_rotate_answers: int = 0
    keys: list[str] = field(default_factory=list)  # those that were replaced
    left: bool = False

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    # What a test tells the brain.

    def want(self, lease: DesiredLease) -> None:
        self.leases[lease.lease_id] = lease
        self._raise_generation()

    def ask_stop(self, lease_id: str) -> None:
        lease = self.leases[lease_id]
        self.want(msgspec.structs.replace(lease, state=DesiredState.STOP))

    def drop(self, lease_id: str) -> None:
        del self.leases[lease_id]
        self._raise_generation()

    def forget_sessions(self) -> None:
        self.sessions.clear()

    # What the agent told it.

    def seen(self, lease_id: str) -> LeaseSeen | None:
        """The lease as the newest beat shows it."""
        if not self.beats:
            return None
        return next((x for x in self.beats[-1].leases if x.lease_id == lease_id), None)

    def states(self, lease_id: str) -> list[str]:
        """Every state that beats showed, without repeats in a row."""
        told: list[str] = []
        for beat in self.beats:
            for line in beat.leases:
                if line.lease_id == lease_id and (not told or told[-1] != line.state):
                    told.append(line.state)
        return told

    async def shows(self, lease_id: str, state: str, seconds: float = 120) -> LeaseSeen:
        def check() -> LeaseSeen | None:
            line = self.seen(lease_id)
            return line if line is not None and line.state == state else None

        try:
            return await until(check, seconds)
        except AssertionError:
            raise AssertionError(f"{self.seen(lease_id)} is not {state}") from None

    async def gpu_uuids(self, count: int) -> list[str]:
        """The UUIDs that the agent's first beat shows."""
        await until(lambda: self.beats, 20)
        return [gpu.uuid for gpu in self.beats[-1].gpus][:count]

    # The server.

    async def start(self) -> None:
        self._ended = asyncio.Event()
        config = uvicorn.Config(
            self._app(), host=self.host, port=self.port, log_level="error", lifespan="off"
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve())
        await until(lambda: self._server.started)

    async def stop(self) -> None:
        self._ended.set()
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task

    def _raise_generation(self) -> None:
        self.generation += 1

    def _app(self) -> Starlette:
        routes = [
            Route("/agent/v1/enroll", self._enroll, methods=["POST"]),
            Route("/agent/v1/session", self._session, methods=["POST"]),
            Route("/agent/v1/beat", self._beat, methods=["POST"]),
            Route("/agent/v1/wake", self._wake),
            Route("/agent/v1/logs", self._logs, methods=["POST"]),
            Route("/agent/v1/rotate", self._rotate, methods=["POST"]),
            Route("/agent/v1/leave", self._leave, methods=["POST"]),
            Route("/agent/file", self._file),
            Route("/health/live", self._live),
            Route("/agent/v1/secrets", self._secrets, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={GanglionError: _told})

    async def _enroll(self, request: Request) -> Response:
        self._check_here()
        message = decode(await request.body(), EnrollRequest)
        self.enrolments.append(message)
        if message.token != self.token or self.public_key not in (None, message.public_key):
            raise Unauthenticated("This join token is not known. Make a new one and try again.")
        self.public_key = message.public_key
        if self.lose_enrol_answers:
            self.lose_enrol_answers -= 1
            return Response(status_code=503)
        return Response(encode(EnrollAnswer(NODE_ID, self.installation_id, self.beat_seconds)))

    async def _session(self, request: Request) -> Response:
        self._check_here()
        message = decode(await request.body(), SessionRequest)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key or ""))
        try:
            key.verify(bytes.fromhex(message.signature), session_input(message))
        except InvalidSignature:
            raise Unauthenticated("The signature is wrong.", code="node_unknown") from None
        session_id, secret = secrets.token_hex(8), os.urandom(32)
        self.sessions[session_id] = Session(secret, message.agent_start_id)
        self.sessions_opened += 1
        answer = SessionAnswer(session_id, secret.hex(), self.session_seconds, self.installation_id)
        return Response(encode(answer))

    async def _beat(self, request: Request) -> Response:
        beat = decode(await self._sealed(request), Beat)
        if self.deaf_to and beat.agent_file == self.deaf_to:
            raise Conflict("This agent is not heard.", code="not_heard")
        self.beats.append(beat)
        newer = beat.generation != self.generation
        desired = (
            DesiredSet(self.generation, list(self.leases.values()), self.drop_volumes)
            if newer
            else None
        )
        renewed = list(self.leases) if self.renewing else []
        answer = BeatAnswer(self.generation, desired, renewed, self.beat_seconds)
        answer.update_to = self.update_to
        answer.gateways = list(self.gateways)
        return Response(encode(answer))

    async def _wake(self, request: Request) -> Response:
        await self._sealed(request)
        known = int(request.query_params["generation"])
        self.waiting += 1
        self.polls += 1
        for _ in range(500):
            if self.generation > known or self._ended.is_set():
                break
            await _pause(0.05)
        self.waiting -= 1
        return Response(status_code=204)

    async def _logs(self, request: Request) -> Response:
        batch = decode(await self._sealed(request), LogBatch)
        lines = self.lines.setdefault(batch.lease_id, [])
        assert batch.first <= len(lines), "line numbers leave no gap"
        lines.extend(line.text for line in batch.lines[len(lines) - batch.first :])
        return Response(status_code=204)

    async def _secrets(self, request: Request) -> Response:
        asked = decode(await self._sealed(request), SecretsRequest)
        self.secrets_asked.append(asked)
        if asked.lease_id not in self.secrets:
            raise NotFound("This lease has no secrets.")
        return Response(encode(self.secrets[asked.lease_id]))

    async def _rotate(self, request: Request) -> Response:
        self._check_here()
        message = decode(await request.body(), RotateRequest)
        text = rotate_input(message.node_id, message.public_key)
        again = message.public_key == self.public_key
        signer = self.keys[-1] if again else self.public_key or ""
        for key, signature in ((signer, message.signature), (message.public_key, message.proof)):
            try:
                known = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
                known.verify(bytes.fromhex(signature), text)
            except InvalidSignature:
                raise Unauthenticated("The signature is wrong.", code="node_unknown") from None
        if not again:
            self.keys.append(self.public_key or "")
            self.public_key = message.public_key
            self.sessions.clear()
        if self.lose_rotate_answers:
            self.lose_rotate_answers -= 1
            return Response(status_code=503)
        return Response(encode(RotateAnswer(message.public_key)))

    async def _leave(self, request: Request) -> Response:
        decode(await self._sealed(request), LeaveRequest)
        self.left = True
        return Response(encode(LeaveAnswer()))

    async def _file(self, request: Request) -> Response:
        return Response(self.file, media_type="application/zip")

    async def _live(self, request: Request) -> Response:
        self._check_here()
        return Response(b"{}")

    def _check_here(self) -> None:
        if self.away:
            self.turned_away += 1
            raise _Away("The brain is away.")

    async def _sealed(self, request: Request) -> bytes:
        self._check_here()
        body = await request.body()
        session = self.sessions.get(request.headers.get(SESSION_HEADER, ""))
        if session is None:
            raise Unauthenticated("This session is not known.")
        seq = int(request.headers[SEQ_HEADER])
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        expected = mac(session.key, request.method, path, seq, body)
        if not hmac.compare_digest(expected, request.headers[MAC_HEADER]):
            raise Unauthenticated("The seal is wrong.")
        if seq <= session.highest:
            raise Conflict("This number was seen before.", code="replayed")
        session.highest = seq
        return body


class _Away(GanglionError):
    status, code, title = 503, "unavailable", "Away"


class _Server(uvicorn.Server):
    """Leaves the test process's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, GanglionError)
    return Response(
        msgspec.json.encode(problem(error)), error.status, media_type="application/problem+json"
    )


async def _pause(seconds: float) -> None:
    event = asyncio.Event()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


_LEASES = itertools.count(1)


def lease_of(
    gpu_uuids: list[str],
    *,
    epoch: int = 1,
    ttl_seconds: int = 60,
    process: list[str] | None = None,
    image: str = "ganglion/stand-in:test",
    arguments: list[str] | None = None,
    **launch: Any,
) -> DesiredLease:
    """A lease to run; its work is the stand-in worker unless the test says otherwise."""
    serve = ["--port", "{port}", "--model", "demo"]
    return DesiredLease(
        lease_id=f"lease_{os.getpid():016x}{next(_LEASES):016x}",
        epoch=epoch,
        gpu_uuids=gpu_uuids,
        ttl_seconds=ttl_seconds,
        state=DesiredState.RUN,
        launch=LaunchSpec(
            engine="standin",
            image=image,
            arguments=["--host", "0.0.0.0", *serve] if arguments is None else arguments,
            process=["{python}", "-m", "standins.worker", *serve] if process is None else process,
            **{"start_seconds_max": 60, "drain_seconds_max": 5, **launch},
        ),
    )
