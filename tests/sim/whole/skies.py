"""The clouds of the world: emulated ones with the vendors' own APIs, behind our real adapters.

Beside our machines each account has machines of others, which nobody may touch.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.runpod import RestRunPod
from brain.adapters.clouds.vast import VastCloud
from brain.clouds import Cloud
from brain.provisioning.core import tag_prefix
from kernel.clock import ManualClock
from kernel.wire.agent import GpuReading
from standins.clouds import lambda_ as lambda_standin
from standins.clouds import runpod as runpod_standin
from standins.clouds import vast as vast_standin
from standins.clouds.asgi import App
from standins.clouds.faults import Fault, FaultKind, Operation, When
from standins.clouds.machine import Machine, Rental, State
from standins.clouds.refusals import Refused
from standins.clouds.stock import Stock
from standins.clouds.world import World as CloudWorld
from tests.sim.whole.process import INSTALLATION, Process
from tests.sim.whole.wires import Wire

KEY = "stand-in"
STOCKS = 3  # kinds of machine that a cloud has in a world
FOREIGN_TAGS = ("", "a-notebook", "gng-000000000000-00000000000000000000000000000000-1")
_TOKEN = re.compile(r"JOIN_TOKEN=(\S+)")


@dataclass
class Sky:
    """One cloud. ``foreign``: machines that are not ours."""

    name: str
    world: CloudWorld
    app: App
    adapter: Callable[[Process, App], Cloud]
    foreign: dict[str, Machine] = field(default_factory=dict)
    strays: set[str] = field(default_factory=set)  # with our tag, and of no order of ours

    def cloud(self, process: Process) -> Cloud:
        """The adapter as one process has it: its own buckets, its own memory."""
        return self.adapter(process, self.app)

    def ours(self) -> list[Machine]:
        """Machines that are not gone and that our calls made: the truth."""
        return [m for m in self.world.alive() if m.machine_id not in self.foreign]

    def plant_stray(self) -> None:
        """A machine with our tag, of an intent that was long before this database."""
        tag = f"{tag_prefix(INSTALLATION)}{'0' * 32}-1"
        for key in sorted(self.world.stocks):
            try:
                made = self.world.create(Rental(key, tag=tag, gpus=self.world.stocks[key].gpus))
            except Refused:
                continue
            self.strays.add(made.machine_id)
            return

    def widen(self) -> None:
        """Enough of everything."""
        for stock in list(self.world.stocks.values()):
            self.world.set_stock(replace(stock, capacity=stock.capacity + 64))

    def settle_foreigners(self, chance: Random) -> None:
        """Somebody else uses the account as well, and so does another installation."""
        for tag in FOREIGN_TAGS:
            key = chance.choice(sorted(self.world.stocks))
            try:
                made = self.world.create(Rental(key, tag=tag, gpus=self.world.stocks[key].gpus))
            except Refused:
                continue
            self.foreign[made.machine_id] = made


def make_skies(clock: ManualClock, chance: Random, mood: float, names: Sequence[str]) -> list[Sky]:
    """These clouds, each with a few kinds of machine and a character of its own."""
    made = []
    for name in names:
        standin, adapter = KINDS[name]
        own = Random(chance.getrandbits(64))
        stocks = own.sample(list(_rentable(standin.STOCKS)), STOCKS)
        world = standin.make_world(clock, own, None, stocks=stocks, faults=_faults(own, mood))
        world.rules = replace(
            world.rules,
            accept_seconds=(1.0, 8.0),
            boot_seconds=own.choice(((5.0, 20.0), (20.0, 90.0))),
            terminate_seconds=(2.0, 25.0),
            listing_lag_seconds=own.choice((0.0, 10.0, 60.0)),
            rate_limits=False,
        )
        sky = Sky(name, world, standin.make_app(world, api_key=KEY), adapter)
        sky.settle_foreigners(own)
        made.append(sky)
    return made


def token_of(machine: Machine) -> str:
    """The join token that a machine's program finds, however its cloud hands it over."""
    program = machine.rental.program
    if program is None:
        return ""
    if "JOIN_TOKEN" in program.env:
        return program.env["JOIN_TOKEN"]
    found = _TOKEN.search("\n".join(program.argv))
    return shlex.split(found[1])[0] if found else ""


def gpus_of(machine: Machine) -> list[GpuReading]:
    """What the machine's driver tells."""
    return [
        GpuReading(
            uuid=f"GPU-{machine.machine_id}-{place}",
            name=f"NVIDIA {machine.stock.gpu_name}",
            memory_total_mib=machine.stock.vram_mib,
        )
        for place in range(machine.rental.gpus)
    ]


def is_up(machine: Machine) -> bool:
    return machine.state is State.RUNNING


def _rentable(stocks: Sequence[Stock]) -> list[Stock]:
    return [stock for stock in stocks if stock.gpu_name and stock.vram_mib >= 16_000]


def _faults(chance: Random, mood: float) -> list[Fault]:
    """What goes wrong inside the cloud itself, for as long as there is no peace."""
    rates: Mapping[FaultKind, float] = {
        FaultKind.NO_CAPACITY: 0.10,
        FaultKind.FAILED_BOOT: 0.05,
        FaultKind.SLOW_BOOT: 0.05,
        FaultKind.INTERRUPTED: 0.05,
        FaultKind.HALF: 0.01,
        FaultKind.HTML: 0.01,
        FaultKind.GARBLED: 0.01,
        FaultKind.CUT: 0.01,
    }
    return [
        Fault(kind, next=0, rate=rate * mood, seconds=chance.choice((20.0, 120.0)))
        for kind, rate in rates.items()
    ] + [
        Fault(FaultKind.DEAF, Operation.TERMINATE, next=0, rate=0.05 * mood, seconds=90.0),
        Fault(FaultKind.CUT, Operation.CREATE, next=0, rate=0.10 * mood, when=When.AFTER),
        Fault(FaultKind.BROKEN, Operation.CREATE, next=0, rate=0.05 * mood, when=When.AFTER),
    ]


def _vast(process: Process, app: App) -> Cloud:
    ground = process.ground
    return VastCloud(
        base_url="http://127.0.0.1:1",
        key=KEY,
        clock=ground.clock,
        chance=ground.chance,
        transport=Wire(process, app, "vast"),
    )


def _lambda(process: Process, app: App) -> Cloud:
    ground = process.ground
    return LambdaCloud(
        base_url="http://127.0.0.1:1",
        key=KEY,
        clock=ground.clock,
        chance=ground.chance,
        transport=Wire(process, app, "lambda"),
    )


def _runpod(process: Process, app: App) -> Cloud:
    ground = process.ground
    return RestRunPod(
        base_url="http://127.0.0.1:1/v2",
        graphql_url="http://127.0.0.1:1/graphql",
        key=KEY,
        clock=ground.clock,
        chance=ground.chance,
        transport=Wire(process, app, "runpod"),
    )


KINDS = {
    "runpod": (runpod_standin, _runpod),
    "vast": (vast_standin, _vast),
    "lambda": (lambda_standin, _lambda),
}
