"""One rig for each adapter: the adapter, the emulated cloud behind it, and time that is told.

A new adapter gets a line in ``RIGS`` (``make adapter`` writes it).
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import httpx

from brain.adapters.clouds.fake import FakeCloud
from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.runpod import GraphQLRunPod, RestRunPod
from brain.adapters.clouds.vast import VastCloud
from brain.clouds import Boot, Cloud, CloudError, Machine, Order
from kernel.clock import ManualClock
from standins.clouds import lambda_, runpod, vast
from standins.clouds.boot import Processes
from standins.clouds.faults import Fault, FaultKind, When
from standins.clouds.world import World

T = TypeVar("T")
KEY = "KEYxq7Jt2Wm9secret"
TOKEN = "TOKENh8Zp4Rk1secret"  # what a boot's environment holds
URL = "https://cloud.example"
TAG = "gng-abcdef012345-00112233445566778899aabbccddeeff-1"
BOOT = Boot("exec sleep 600\n", {"JOIN_TOKEN": TOKEN}, "docker.io/library/python:3.11")
WAIT_SECONDS_MAX = 3600.0


class Spoiler(httpx.AsyncBaseTransport):
    """Passes everything on, but for ids that are taken out of the answers, and for a place where
    another server answers that speaks JSON too."""

    def __init__(self, behind: httpx.AsyncBaseTransport) -> None:
        self._behind = behind
        self.spoiled_id = ""
        self.elsewhere = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.elsewhere:
            body = b'{"statusCode": 404, "message": "Cannot route there", "error": "Not Found"}'
            return httpx.Response(404, stream=httpx.ByteStream(body))
        response = await self._behind.handle_async_request(request)
        if not self.spoiled_id:
            return response
        found = re.compile(rb'"id": ?"?%s"?' % self.spoiled_id.encode())
        body = found.sub(b'"id": null', await response.aread())
        return httpx.Response(response.status_code, stream=httpx.ByteStream(body))


@dataclass
class Rig:
    """What a test works with. ``world`` is None where the adapter is its own cloud."""

    cloud: Cloud
    clock: ManualClock
    folder: Path
    world: World | None = None
    spoiler: Spoiler | None = None

    async def run(self, work: Awaitable[T]) -> T:
        """What ``work`` gives, while time runs on as far as it waits."""
        if self.world is None:
            return await work
        doing, began = asyncio.ensure_future(work), self.clock.monotonic_ns()
        while not doing.done():
            for _ in range(12):
                await asyncio.sleep(0)
            self.clock.advance(0.25)
            passed = (self.clock.monotonic_ns() - began) / 1e9
            assert passed < WAIT_SECONDS_MAX, "a call without an end"
        return await doing

    async def wrong(self, work: Awaitable[object]) -> CloudError:
        """The error that ``work`` ends with."""
        try:
            answer = await self.run(work)
        except CloudError as error:
            return error
        raise AssertionError(f"no error: {answer!r}")

    async def rent(self, tag: str = TAG, boot: Boot = BOOT) -> Machine:
        offers = await self.run(self.cloud.offers())
        offer = min((one for one in offers if not one.spot), key=lambda one: one.gpus)
        return await self.run(self.cloud.create(Order(tag, offer, boot)))

    def fail(self, kind: str, call: str, *, times: int = 1, **how: Any) -> None:
        """The next ``times`` calls (0: all) of one kind meet a fault."""
        if self.world is None:
            assert isinstance(self.cloud, FakeCloud)
            self.cloud.fail(f"{call}:{kind}" + (f"*{times}" if times else ""))
        else:
            operation = {"machine": "get", "listing": "list"}.get(call, call)
            if "when" in how:
                how["when"] = When(how["when"])
            fault = Fault(FaultKind(kind), operation, next=times, **how)
            self.world.add_faults([fault])

    def settle(self, seconds: float = 60.0) -> None:
        """So long that every boot and end is over and every listing has caught up."""
        self.clock.advance(seconds)

    def home(self, machine_id: str) -> Path:
        """A booted machine's disk."""
        return self.folder / "machines" / machine_id


@dataclass(frozen=True)
class Kit:
    """How a rig is made: ``make(clock, seed, folder, boots)``."""

    adapter: type
    make: Callable[[ManualClock, int, Path, bool], Rig]


def emulated(adapter: type[Any], stand_in: ModuleType, **urls: str) -> Kit:
    """The adapter over its stand-in, in process. ``urls``: its roots, where it has others than
    ``base_url`` alone."""

    def make(clock: ManualClock, seed: int, folder: Path, boots: bool) -> Rig:
        launcher = Processes(folder / "machines", {}) if boots else None
        world = stand_in.make_world(clock, random.Random(seed), launcher)
        world.rules = replace(world.rules, balance_nano=50_000_000_000)
        spoiler = Spoiler(httpx.ASGITransport(stand_in.make_app(world, api_key=KEY)))
        cloud = adapter(
            **(urls or {"base_url": URL}),
            key=KEY,
            clock=clock,
            chance=random.Random(seed),
            transport=spoiler,
        )
        return Rig(cloud, clock, folder, world, spoiler)

    return Kit(adapter, make)


def fake_rig(clock: ManualClock, seed: int, folder: Path, boots: bool) -> Rig:
    return Rig(FakeCloud(folder, clock), clock, folder)


GRAPHQL = f"{URL}/graphql"
RIGS: Mapping[str, Kit] = {
    "fake": Kit(FakeCloud, fake_rig),
    "lambda": emulated(LambdaCloud, lambda_),
    "runpod-graphql": emulated(GraphQLRunPod, runpod, base_url=GRAPHQL),
    "runpod-rest": emulated(RestRunPod, runpod, base_url=f"{URL}/v2", graphql_url=GRAPHQL),
    "vast": emulated(VastCloud, vast),
}


EMULATED = sorted(set(RIGS) - {"fake"})


def able(ability: type) -> list[str]:
    """The rigs whose adapter can do this."""
    return sorted(name for name, kit in RIGS.items() if issubclass(kit.adapter, ability))


@contextmanager
def opened(name: str, clock: ManualClock, seed: int, folder: Path, *, boots: bool) -> Iterator[Rig]:
    """A rig, whose machines end with the test."""
    rig = RIGS[name].make(clock, seed, folder, boots)
    try:
        yield rig
    finally:
        if rig.world is not None and isinstance(rig.world.launcher, Processes):
            rig.world.launcher.close()
        elif isinstance(rig.cloud, FakeCloud):
            rig.cloud.end_all()
