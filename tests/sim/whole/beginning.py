"""A new world on a fresh database: everything in it comes from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import structlog
from pydantic import SecretStr

from brain.marketplace import service as marketplace
from brain.plumbing import Db
from brain.settings import Settings
from catalog import load_catalog
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, SeededIds
from kernel.wire.agent import GpuReading
from tests.sim.whole.faults import RATES, Faults
from tests.sim.whole.life import World
from tests.sim.whole.machines import new_agent
from tests.sim.whole.own_images import OwnImages
from tests.sim.whole.people import People
from tests.sim.whole.process import INSTALLATION, Ground
from tests.sim.whole.skies import KINDS, make_skies
from tests.sim.whole.trace import Trace
from tests.sim.whole.turns import Turns

CATALOG = load_catalog()
START_NS = 1_800_000_000 * NS
MOODS = (0.0, 0.5, 1.0, 1.0, 2.0)  # how often small things go wrong in a seed's world
LEASE_TTL_SECONDS = 40


@dataclass(frozen=True)
class Shape:
    """How big a world is. What is None is the seed's to choose."""

    webs: int | None = None
    workers: int = 2
    nodes: int | None = None
    clouds: tuple[str, ...] = tuple(KINDS)
    mood: float | None = None
    own_images: bool = False  # people also run images of their own, without our agent


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


async def make_world(
    seed: int, db: Db, database_url: str, clock: ManualClock, shape: Shape | None = None
) -> World:
    asked = shape or Shape()
    chance = Random(seed)
    ids = SeededIds(clock, seed)
    mood = chance.choice(MOODS) if asked.mood is None else asked.mood
    rates = {name: rate * mood for name, rate in RATES.items()}
    trace = Trace(clock)
    faults = Faults(Random(seed + 1), rates)
    ground = Ground(db, clock, ids, Turns(Random(seed + 2), clock), faults, trace, chance)
    structlog.configure(processors=[Ears(ground)], cache_logger_on_first_use=False)
    people = People([ids.new(AccountId) for _ in range(2)], Random(seed + 3), CATALOG)
    world = World(ground, a_settings(database_url), CATALOG, people)
    if asked.own_images:
        world.own_images = OwnImages(people.accounts, Random(seed + 5))
    world.skies = make_skies(clock, Random(seed + 4), mood, asked.clouds)
    webs = asked.webs or chance.choice((1, 1, 2))
    world.webs = [world.new_web() for _ in range(webs)]
    world.workers = [world.new_worker() for _ in range(asked.workers)]
    faults.on = False
    await people.fund(world.webs[0].ctx)
    await _community(world, chance.choice((0, 1, 2, 3)) if asked.nodes is None else asked.nodes)
    faults.on = True
    return world


async def _community(world: World, nodes: int) -> None:
    """Nodes of a provider, as they are before their agents first speak."""
    ctx, chance = world.webs[0].ctx, world.chance
    provider = world.ground.ids.new(AccountId)
    await marketplace.become_provider(ctx, provider, "provider")
    for number in range(nodes):
        token = await marketplace.make_join_token(ctx, provider)
        gpus = [
            GpuReading(uuid=f"GPU-{number}-{place}", name="NVIDIA L4", memory_total_mib=23034)
            for place in range(chance.randint(1, 2))
        ]
        world.agents.append(new_agent(world, f"node-{number}", gpus, token.secret))


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
