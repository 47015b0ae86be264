"""A small fleet for tests: the real routes over a real database, and agents that sign as real
ones do, driven by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from brain import fleet
from brain.edge import problems
from brain.fleet import AgentFront, Claim, FrontTerms, LeaseView, NobodyWatches, Telemetry
from brain.fleet import routes as fleet_routes
from brain.fleet.door import BeatDoor
from brain.fleet.ports import BeatPart, LeaseWatcher
from brain.identity import PLATFORM_ACCOUNT
from brain.marketplace import JoinTerms, service
from brain.marketplace import routes as marketplace_routes
from brain.plumbing import Ctx, valkey
from brain.plumbing.sealing import Sealer
from brain.secrets import Vault
from kernel.clock import ManualClock
from kernel.ids import AccountId, DeploymentId, LeaseId, NodeId, ReplicaId
from kernel.wire import encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    BeatAnswer,
    EnrollRequest,
    GpuReading,
    HostReading,
    LaunchSpec,
    LeaseSeen,
    LeaseSeenState,
    NvmlState,
    SessionAnswer,
    SessionRequest,
    VolumeSeen,
    mac,
    session_input,
)

BASE = "http://brain.test"
SECRET = b"s" * 32
VAULT = Vault(Sealer(b"m" * 32))
LAUNCH = LaunchSpec(engine="standin", image="standin", arguments=["--port", "{port}"])
STEP_SECONDS_MAX = 4.0  # below what breaks off a brain's reception


def gpu(uuid: str, name: str = "NVIDIA L4", memory_mib: int = 23034, **more: Any) -> GpuReading:
    return GpuReading(uuid=uuid, name=name, memory_total_mib=memory_mib, **more)


def host(engine: str = "process") -> HostReading:
    return HostReading(hostname="host", os="Debian 12", cpu_count=8, engine=engine)


@dataclass
class Rig:
    """One brain process in front of a database."""

    ctx: Ctx
    clock: ManualClock
    front: AgentFront
    http: httpx.AsyncClient
    account: AccountId
    agents: list[Agent] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    app: FastAPI = field(default_factory=FastAPI)

    async def agent(self, *gpus: GpuReading, count: int = 1) -> Agent:
        """A node that is enrolled, has a session and has beaten once."""
        made = await self.enrolled(*gpus, count=count)
        await made.open_session()
        await made.beat()
        await self.front.flush()
        return made

    async def enrolled(self, *gpus: GpuReading, count: int = 1) -> Agent:
        number = len(self.agents)
        own = list(gpus) or [gpu(f"GPU-{number}-{place}") for place in range(count)]
        made = Agent(self, Ed25519PrivateKey.generate(), own, start_id=f"start-{number}-1")
        await made.enrol(await self.token())
        self.agents.append(made)
        return made

    async def token(self) -> str:
        await service.become_provider(self.ctx, self.account, "provider")
        return (await service.make_join_token(self.ctx, self.account)).secret

    async def claim(self, agent: Agent, gpus: int = 1, **more: Any) -> LeaseView:
        wanted = Claim(
            replica_id=self.ctx.ids.new(ReplicaId),
            deployment_id=self.ctx.ids.new(DeploymentId),
            node_id=agent.node_id,
            gpu_count=gpus,
            launch=LAUNCH,
            payer=PLATFORM_ACCOUNT,
            mode="pool",
            **more,
        )
        async with self.ctx.db.begin() as tx:
            made = await fleet.claim(tx, wanted, now_ns=self.clock.now_ns(), ids=self.ctx.ids)
        await self.front.look()
        return made

    async def stop_lease(self, lease_id: LeaseId) -> None:
        async with self.ctx.db.begin() as tx:
            await fleet.stop_lease(tx, lease_id, "asked to", now_ns=self.clock.now_ns())
        await self.front.look()

    async def lease(self, lease_id: LeaseId) -> LeaseView:
        async with self.ctx.db.begin() as tx:
            found = await fleet.lease(tx, lease_id)
        assert found is not None
        return found

    async def running(self, agent: Agent, gpus: int = 1, **more: Any) -> LeaseView:
        """A lease whose worker the agent reports as ready."""
        made = await self.claim(agent, gpus, **more)
        await agent.beat(agent.seen(made))
        return await self.lease(made.lease_id)

    async def pass_time(self, seconds: float, *beating: Agent) -> None:
        """Let time pass with the brain receiving, and these agents beating as they last did."""
        left = seconds
        while left > 0:
            step = min(left, STEP_SECONDS_MAX)
            self.clock.advance(step)
            left -= step
            for agent in beating:
                await agent.beat(*agent.last_seen)
            await self.front.flush()

    async def reconcile(self) -> fleet.FleetStep:
        step = await fleet.reconcile_leases(self.ctx, watcher=self.front.watcher)
        await self.front.look()
        return step


@dataclass
class Agent:
    """Signs and numbers its calls as the protocol asks; keeps what it was last told."""

    rig: Rig
    key: Ed25519PrivateKey
    gpus: list[GpuReading]
    start_id: str
    boot_id: str = "boot-1"
    engine: str = "process"
    volumes: dict[str, int] = field(default_factory=dict)  # on its disk: id -> MiB used
    node_id: NodeId = field(default_factory=lambda: NodeId(""))
    number: int = 0
    nonce: int = 0
    generation: int = 0
    session: SessionAnswer | None = None
    last_seen: tuple[LeaseSeen, ...] = ()
    told: BeatAnswer | None = None

    @property
    def public_key(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def enrolment(self, token: str) -> EnrollRequest:
        return EnrollRequest(
            token=token,
            public_key=self.public_key,
            agent_version="1",
            host=host(),
            gpus=self.gpus,
        )

    async def enrol(self, token: str) -> None:
        answer = await self.rig.http.post("/agent/v1/enroll", content=encode(self.enrolment(token)))
        assert answer.status_code == 200, answer.text
        self.node_id = NodeId.parse(answer.json()["node_id"])

    def session_request(self, **changes: Any) -> SessionRequest:
        self.nonce += 1
        request = SessionRequest(
            node_id=str(self.node_id),
            host_boot_id=self.boot_id,
            agent_start_id=self.start_id,
            nonce=f"{self.start_id}-nonce-{self.nonce}",
            signature="0" * 128,
        )
        for name, value in changes.items():
            setattr(request, name, value)
        if "signature" not in changes:
            request.signature = self.key.sign(session_input(request)).hex()
        return request

    async def send_session(self, request: SessionRequest) -> httpx.Response:
        return await self.rig.http.post("/agent/v1/session", content=encode(request))

    async def open_session(self) -> None:
        answer = await self.send_session(self.session_request())
        assert answer.status_code == 200, answer.text
        self.session = msgspec.json.decode(answer.content, type=SessionAnswer)

    async def restart(self, *, boot_id: str | None = None) -> None:
        """A new agent process; with ``boot_id`` after a boot of the host."""
        self.start_id += "+"
        self.boot_id = boot_id or self.boot_id
        self.number = self.generation = 0
        self.last_seen = ()
        await self.open_session()

    def seen(
        self, lease: LeaseView, state: LeaseSeenState = LeaseSeenState.READY, **more: Any
    ) -> LeaseSeen:
        return LeaseSeen(lease_id=str(lease.lease_id), epoch=lease.epoch, state=state, **more)

    def message(self, *leases: LeaseSeen) -> Beat:
        simulated = any(one.simulated for one in self.gpus)
        return Beat(
            node_id=str(self.node_id),
            host_boot_id=self.boot_id,
            generation=self.generation,
            nvml=NvmlState.SIMULATED if simulated else NvmlState.OK,
            gpus=self.gpus,
            host=host(self.engine),
            leases=list(leases),
            agent_version="1",
            volumes=[VolumeSeen(volume_id, used) for volume_id, used in self.volumes.items()],
        )

    def signed(
        self, method: str, path: str, body: bytes, *, number: int | None = None
    ) -> dict[str, str]:
        assert self.session is not None, "open a session first"
        if number is None:
            self.number += 1
            number = self.number
        key = bytes.fromhex(self.session.session_key)
        return {
            SESSION_HEADER: self.session.session_id,
            SEQ_HEADER: str(number),
            MAC_HEADER: mac(key, method, path, number, body),
        }

    async def send(self, path: str, body: bytes, *, number: int | None = None) -> httpx.Response:
        headers = self.signed("POST", path, body, number=number)
        return await self.rig.http.post(path, content=body, headers=headers)

    async def beat(self, *leases: LeaseSeen) -> BeatAnswer:
        answer = await self.send("/agent/v1/beat", encode(self.message(*leases)))
        assert answer.status_code == 200, answer.text
        self.last_seen = leases
        self.told = msgspec.json.decode(answer.content, type=BeatAnswer)
        if self.told.desired is not None:
            self.generation = self.told.desired.generation
        return self.told

    async def wake(self, generation: int) -> httpx.Response:
        path = f"/agent/v1/wake?generation={generation}"
        return await self.rig.http.get(path, headers=self.signed("GET", path, b""))


@dataclass
class Watched(NobodyWatches):
    """Remembers which replicas it was told of."""

    replicas: list[ReplicaId] = field(default_factory=list)

    async def lease_changed(self, tx: Any, replica_id: ReplicaId) -> None:
        self.replicas.append(replica_id)


@asynccontextmanager
async def brain_front(
    ctx: Ctx,
    clock: ManualClock,
    valkey_url: str,
    watcher: LeaseWatcher | None = None,
    parts: Sequence[BeatPart] = (),
) -> AsyncIterator[Rig]:
    """A front whose loops are turned by the test: ``flush``, ``look`` and ``reconcile``."""
    cache = valkey.connect(valkey_url)
    front = AgentFront(
        ctx=ctx,
        terms=FrontTerms(installation_id="test", secret=SECRET),
        telemetry=Telemetry(cache),
        watcher=watcher or NobodyWatches(),
        vault=VAULT,
        parts=parts,
    )
    app = FastAPI()
    app.state.ctx = ctx
    app.state.agents = front
    app.state.join_terms = JoinTerms("test", BASE, beat_seconds=10)
    problems.install(app)
    app.include_router(marketplace_routes.router)
    app.include_router(fleet_routes.router)
    answered: list[float] = []  # beats that the door took by itself
    counted = {"answered": answered.append, "waited": answered.append}
    app.add_middleware(BeatDoor, front=front, clock=clock, **counted)
    await front.flush()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
        yield Rig(ctx, clock, front, http, ctx.ids.new(AccountId), answered=answered, app=app)
    await cache.aclose()
