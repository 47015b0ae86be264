"""An agent as a coroutine: real signed beats and long polls over kept connections, no work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from bench.fleet_rows import BOOT
from brain.fleet.session import Session
from kernel.clock import NS, Clock
from kernel.ids import NodeId
from kernel.wire import encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    BeatAnswer,
    DesiredLease,
    DesiredState,
    GpuReading,
    HostReading,
    LeaseSeen,
    LeaseSeenState,
    NvmlState,
    mac,
)

HOST = HostReading(hostname="load", os="Debian 12", cpu_count=64, engine="process")
AGAIN_SECONDS = 1.0
LANES = 8  # addresses they come from: one has 28,000 ports, too few for 20,000 agents
_answers = msgspec.json.Decoder(BeatAnswer)


@dataclass(frozen=True)
class Address:
    """Where the brain listens, and how often it is told."""

    port: int
    beat_seconds: int
    clock: Clock

    async def listens(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False


@dataclass
class Beater:
    """One node's agent. What it is asked to run it reports as ready at its next beat."""

    address: Address
    node_id: NodeId
    session: Session
    gpus: int
    phase: float
    number: int = 0
    generation: int = 0
    beats: int = 0
    refused: int = 0
    answered_ns: int = 0
    latencies: list[float] = field(default_factory=list)
    leases: dict[str, DesiredLease] = field(default_factory=dict)
    gone: list[DesiredLease] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Its two loops, until they are cancelled."""
        return [tasks.create_task(self._beat_loop()), tasks.create_task(self._wake_loop())]

    async def _beat_loop(self) -> None:
        await self.address.clock.sleep(self.phase)
        call = Caller(self)
        try:
            while True:
                self.woken.clear()
                await self._beat(call)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.address.beat_seconds):
                        await self.woken.wait()
        finally:
            call.close()

    async def _beat(self, call: Caller) -> None:
        gone, self.gone = self.gone, []
        body = encode(self._message(gone))
        clock = self.address.clock
        start_ns = clock.monotonic_ns()
        try:
            status, content = await call.send("POST", "/agent/v1/beat", body)
        except (OSError, EOFError):
            self.gone = gone
            self.refused += 1
            return
        self.latencies.append((clock.monotonic_ns() - start_ns) / NS)
        self.beats += 1
        if status != 200:
            self.gone = gone
            self.refused += 1
            return
        self.answered_ns = clock.now_ns()
        answer = _answers.decode(content)
        if answer.desired is not None:
            self._accept(answer)

    def _accept(self, answer: BeatAnswer) -> None:
        assert answer.desired is not None, "asked before"
        self.generation = answer.desired.generation
        wanted = {one.lease_id: one for one in answer.desired.leases}
        for lease_id, held in list(self.leases.items()):
            if lease_id not in wanted or wanted[lease_id].state is DesiredState.STOP:
                self.gone.append(held)
                del self.leases[lease_id]
        for lease_id, lease in wanted.items():
            if lease.state is DesiredState.RUN:
                self.leases[lease_id] = lease
        self.woken.set()  # what changed is told at once

    def _message(self, gone: list[DesiredLease]) -> Beat:
        busy = {uuid for lease in self.leases.values() for uuid in lease.gpu_uuids}
        uuids = [f"{self.node_id}-{place}" for place in range(self.gpus)]
        gpus = [
            GpuReading(
                uuid=uuid,
                name="NVIDIA L4",
                memory_total_mib=23034,
                memory_used_mib=20000 if uuid in busy else 0,
                utilisation_percent=90 if uuid in busy else 0,
                temperature_c=61,
                power_mw=70_500,
                process_count=int(uuid in busy),
            )
            for uuid in uuids
        ]
        leases = [_seen(lease, LeaseSeenState.READY) for lease in self.leases.values()]
        leases += [_seen(lease, LeaseSeenState.GONE) for lease in gone]
        return Beat(
            str(self.node_id),
            BOOT,
            self.generation,
            NvmlState.OK,
            gpus,
            HOST,
            leases,
            agent_version="1",
        )

    async def _wake_loop(self) -> None:
        call = Caller(self)
        try:
            while True:
                if not self.generation:
                    await self.address.clock.sleep(AGAIN_SECONDS)
                    continue
                try:
                    path = f"/agent/v1/wake?generation={self.generation}"
                    await call.send("GET", path, b"")
                    self.woken.set()
                except (OSError, EOFError):
                    call.close()
                await self.address.clock.sleep(AGAIN_SECONDS)
        finally:
            call.close()


class Caller:
    """One kept connection of an agent; opened at the first call and after each failure."""

    def __init__(self, agent: Beater) -> None:
        self._agent = agent
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and content. Raises ``OSError`` or ``EOFError``."""
        if self._streams is None:
            port, lane = self._agent.address.port, int(self._agent.node_id[-2:], 16) % LANES
            self._streams = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(f"127.0.0.{1 + lane}", 0)
            )
        reader, writer = self._streams
        try:
            writer.write(self._call(method, path, body))
            head = await reader.readuntil(b"\r\n\r\n")
            found = head.lower().partition(b"content-length: ")[2]
            length = int(found.partition(b"\r\n")[0] or 0)
            return int(head[9:12]), await reader.readexactly(length)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def _call(self, method: str, path: str, body: bytes) -> bytes:
        agent = self._agent
        agent.number += 1
        code = mac(agent.session.key, method, path, agent.number, body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: brain\r\nContent-Type: application/json\r\n"
            f"{SESSION_HEADER}: {agent.session.session_id}\r\n{SEQ_HEADER}: {agent.number}\r\n"
            f"{MAC_HEADER}: {code}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _seen(lease: DesiredLease, state: LeaseSeenState) -> LeaseSeen:
    return LeaseSeen(
        lease_id=lease.lease_id,
        epoch=lease.epoch,
        state=state,
        port=9000 if state is LeaseSeenState.READY else 0,
        gpu_uuids=lease.gpu_uuids,
    )
