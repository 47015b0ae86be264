"""One world: who is in it, and how a step passes.

A step moves time, lets people, faults and ticks happen in an order that chance chooses, and waits
until nobody can do anything more. Whoever steps looks at the laws afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from brain.deployments import tasks
from brain.settings import Settings
from catalog import Catalog
from kernel.clock import NS, ManualClock
from tests.sim.whole.agents import BEAT_NS, Agent
from tests.sim.whole.brain import Web, Worker
from tests.sim.whole.faults import Faults
from tests.sim.whole.machines import follow_machines
from tests.sim.whole.own_images import OwnImages
from tests.sim.whole.people import People
from tests.sim.whole.process import Ground, Process
from tests.sim.whole.skies import Sky
from tests.sim.whole.trace import Trace

# How often a tick comes in a step; those that are not named come now and then.
TICKS: Mapping[str, float] = {
    tasks.DEPLOYMENTS: 0.35,
    tasks.LEASES: 0.25,
    tasks.INTENTS: 0.35,
    tasks.SWEEP: 0.05,
    tasks.OFFERS: 0.10,
    tasks.SETTLE: 0.08,
    tasks.ACCRUE: 0.08,
    tasks.RELEASE: 0.03,
    tasks.PODS: 0.05,
    tasks.TIDY: 0.0,
}
OTHER_TICKS = 0.03
STEP_SECONDS = (0.5, 10.0)
FLUSH_SECONDS = 4.0  # less than what breaks off a brain's reception
WISHES = 0.25  # how often a person wants something, a step
OWN_WISHES = 0.6  # of these with an image of their own, in worlds that have such


@dataclass
class World:
    ground: Ground
    settings: Settings
    catalog: Catalog
    people: People
    webs: list[Web] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    skies: list[Sky] = field(default_factory=list)
    rented: dict[str, Agent] = field(default_factory=dict)  # by the machine's id
    back_ns: dict[str, int] = field(default_factory=dict)
    own_images: OwnImages | None = None
    flush_seconds: float = FLUSH_SECONDS
    other_ticks: float = OTHER_TICKS
    births: int = 0

    @property
    def clock(self) -> ManualClock:
        return self.ground.clock

    @property
    def faults(self) -> Faults:
        return self.ground.faults

    @property
    def chance(self) -> Random:
        return self.ground.chance

    @property
    def trace(self) -> Trace:
        return self.ground.trace

    @property
    def processes(self) -> list[Process]:
        return [*self.webs, *self.workers]

    @property
    def community(self) -> list[Agent]:
        """Agents of providers' own nodes."""
        rented = {id(agent) for agent in self.rented.values()}
        return [agent for agent in self.agents if id(agent) not in rented]

    def web(self) -> Web | None:
        """A web process that takes calls now."""
        alive = [web for web in self.webs if not web.dead and not web.paused]
        return alive[self.chance.randrange(len(alive))] if alive else None

    async def step(self, seconds: float | None = None) -> None:
        self.trace.step += 1
        await self.pass_time(seconds or self.chance.uniform(*STEP_SECONDS))
        self.bury()
        self._look()
        self._wish()
        if self.own_images is not None and self.faults.on:
            self.own_images.harm(self)
        self._tick()
        await self.ground.turns.quiet()

    async def pass_time(self, seconds: float) -> None:
        """Hosts go on second by second; agents beat, and the brain writes down what it heard."""
        left = seconds
        since_flush = 0.0
        while left > 0:
            part = min(left, 1.0)
            left -= part
            since_flush += part
            self.clock.advance(part)
            now = self.clock.monotonic_ns()
            for agent in self.agents:
                if agent.host.state.leases or agent.host.runs:
                    agent.host.tick(now)
            if since_flush >= self.flush_seconds or left <= 0:
                since_flush = 0.0
                follow_machines(self)
                if self.flush_seconds > FLUSH_SECONDS:
                    await self._flush()  # what is not written down is not promised
                self._beat(now)
                await self._flush()

    def receiving_since(self, now_ns: int, gap_ns: int) -> int:
        """Since when some brain process has been writing without a gap: the truth."""
        since = now_ns
        for at in reversed(self.ground.flushed_ns):
            if at < since - gap_ns:
                break
            since = min(since, at)
        return since

    def bury(self) -> None:
        """The supervisor starts a new process for one that died, at once or a little later."""
        now = self.clock.monotonic_ns()
        for place, web in enumerate(self.webs):
            if web.dead and self._is_back(web, now):
                self.webs[place] = self.new_web()
        for place, worker in enumerate(self.workers):
            if worker.dead and self._is_back(worker, now):
                self.workers[place] = self.new_worker()

    def new_web(self) -> Web:
        self.births += 1
        return Web(self.ground, f"web-{self.births}")

    def new_worker(self) -> Worker:
        self.births += 1
        return Worker(self.ground, f"worker-{self.births}", self.settings, self.catalog, self.skies)

    def _is_back(self, process: Process, now: int) -> bool:
        if not self.faults.on:
            return True
        down = self.chance.choice((0, 2, 10)) * NS
        return now >= self.back_ns.setdefault(process.name, now + down)

    def _beat(self, now: int) -> None:
        for agent in self.agents:
            if now < max(agent.cut_until_ns, agent.due_ns):
                continue
            web = self.web()
            if web is None:
                continue
            agent.due_ns = now + (NS if agent.refused else BEAT_NS)
            agent.refused = ""
            web.begin(f"beat of {agent.name}", agent.caller(web))
            if (agent.late or agent.late_answers) and self.chance.random() < 0.3:
                web.begin(f"late post of {agent.name}", agent.postman(web))

    async def _flush(self) -> None:
        for web in self.webs:
            web.flush()
        await self.ground.turns.quiet()

    def _look(self) -> None:
        for web in self.webs:
            if not self.faults.strikes("hint_lost"):
                web.look()

    def _wish(self) -> None:
        web = self.web()
        if web is not None and self.faults.on and self.chance.random() < WISHES:
            own = self.own_images
            asks = own is not None and own.chance.random() < OWN_WISHES
            (own if own is not None and asks else self.people).do_something(web)

    def _tick(self) -> None:
        begun = [
            (worker, name)
            for worker in self.workers
            for name in worker.ticks
            if self.chance.random() < TICKS.get(name, self.other_ticks)
        ]
        self.chance.shuffle(begun)
        for worker, name in begun:
            worker.tick(name)
