"""A new world on a fresh database: everything in it comes from the seed."""

from __future__ import annotations

from random import Random

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from brain.marketplace import service as marketplace
from brain.plumbing import Db
from brain.settings import Settings
from catalog import load_catalog
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, SeededIds
from kernel.wire.agent import GpuReading
from tests.sim.whole.agents import Agent
from tests.sim.whole.brain import INSTALLATION
from tests.sim.whole.faults import RATES, Faults
from tests.sim.whole.hosts import Host
from tests.sim.whole.life import World
from tests.sim.whole.people import People
from tests.sim.whole.process import Ground
from tests.sim.whole.trace import Trace
from tests.sim.whole.turns import Turns

CATALOG = load_catalog()
START_NS = 1_800_000_000 * NS
WEBS = 2
WORKERS = 2
MOODS = (0.0, 0.5, 1.0, 1.0, 2.0)  # how often small things go wrong in a seed's world
LEASE_TTL_SECONDS = 40


def a_settings(database_url: str) -> Settings:
    return Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        redis_url=SecretStr("redis://nowhere"),
        jwt_secret_key=SecretStr("j" * 64),
        master_key=SecretStr("ab" * 32),
        gateway_token=SecretStr("g" * 32),
        installation_id=INSTALLATION,
        public_brain_url="http://brain.test",
        lease_ttl_seconds=LEASE_TTL_SECONDS,
    )


async def make_world(seed: int, db: Db, database_url: str) -> World:
    chance = Random(seed)
    clock = ManualClock(START_NS)
    ids = SeededIds(clock, seed)
    mood = chance.choice(MOODS)
    rates = {name: rate * mood for name, rate in RATES.items()}
    trace = Trace(clock)
    faults = Faults(Random(seed + 1), rates)
    ground = Ground(db, clock, ids, Turns(Random(seed + 2)), faults, trace, chance)
    structlog.configure(processors=[Ears(ground)], cache_logger_on_first_use=False)
    people = People([ids.new(AccountId) for _ in range(2)], Random(seed + 3), CATALOG)
    world = World(ground, a_settings(database_url), CATALOG, people)
    world.webs = [world.new_web() for _ in range(WEBS)]
    world.workers = [world.new_worker() for _ in range(WORKERS)]
    faults.on = False
    await people.fund(world.webs[0].ctx)
    await _community(world)
    faults.on = True
    return world


async def _community(world: World) -> None:
    """Nodes of a provider, as they are before their agents first speak."""
    ctx, chance = world.webs[0].ctx, world.chance
    provider = world.ground.ids.new(AccountId)
    await marketplace.become_provider(ctx, provider, "provider")
    for number in range(chance.randint(2, 4)):
        token = await marketplace.make_join_token(ctx, provider)
        gpus = [
            GpuReading(uuid=f"GPU-{number}-{place}", name="NVIDIA L4", memory_total_mib=23034)
            for place in range(chance.randint(1, 3))
        ]
        world.agents.append(new_agent(world, f"node-{number}", gpus, token.secret))


def new_agent(world: World, name: str, gpus: list[GpuReading], token: str) -> Agent:
    chance = Random(world.chance.getrandbits(64))
    host = Host(
        name=name,
        gpus=gpus,
        chance=chance,
        faults=world.faults,
        installation=INSTALLATION,
        boot_offset_ns=chance.randrange(3600) * NS,
    )
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    return Agent(host, key, token, world.trace)


class Ears:
    """What the product logs as an error with an exception, a law looks at; the rest is dropped."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def __call__(self, logger: object, method: str, event: dict[str, object]) -> str:
        cause = event.get("exc_info")
        if method in ("error", "exception", "critical"):
            self._ground.trace.add("log", f"{event.get('event')} {event.get('failure', '')}")
        if isinstance(cause, BaseException):
            self._ground.faults.tell(cause)
        raise structlog.DropEvent
