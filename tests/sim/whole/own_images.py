"""People who run their own images at clouds, where no agent of ours is; the law of their bills."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from brain.plumbing import Ctx, Tx
from brain.pods import service, store
from brain.pods.models import Pod
from brain.pods.service import PodWanted
from kernel.clock import NS
from kernel.ids import AccountId, PodId
from kernel.money import Money
from standins.clouds.machine import Machine, State
from tests.sim.whole.brain import Web
from tests.sim.whole.broken import Broken
from tests.sim.whole.look import Rows

if TYPE_CHECKING:
    from tests.sim.whole.life import World

IMAGE = "somebody/trainer:1"
LIVE_MAX = 3
HARM = 0.08  # how often a machine is lost, a step
CALL_NS = 60 * NS  # a list that was begun so long ago may only come now
SETTLED = frozenset({"running", "stopped", "failed", "terminated"})


@dataclass
class OwnImages:
    """What was asked for here as well as in the database."""

    accounts: list[AccountId]
    chance: Random
    asked: dict[PodId, AccountId] = field(default_factory=dict)
    ended: set[PodId] = field(default_factory=set)
    number: int = 0

    def do_something(self, web: Web) -> None:
        """One wish, carried by a process that may die on the way."""
        self.number += 1
        live = [key for key in self.asked if key not in self.ended]
        if len(live) < LIVE_MAX and (not live or self.chance.random() < 0.5):
            web.begin(f"own image {self.number}", lambda: self._create(web))
            return
        chosen = live[self.chance.randrange(len(live))]
        verb = self.chance.choices((self._stop, self._start, self._end), weights=(1, 4, 1))[0]
        web.begin(f"own wish {self.number}", lambda: verb(web, chosen))

    def harm(self, world: World) -> None:
        """Now and then a cloud loses what runs there alone, or somebody ends it at its console."""
        alone = [
            (sky, machine)
            for sky in world.skies
            for machine in sky.ours()
            if machine.state is State.RUNNING and IMAGE in str(machine.details)
        ]
        if not alone or self.chance.random() > HARM:
            return
        sky, machine = alone[self.chance.randrange(len(alone))]
        verb = self.chance.choice((sky.world.interrupt, sky.world.fail, sky.world.terminate))
        world.faults.happens("a machine without an agent is lost")
        world.trace.add(sky.name, f"{machine.machine_id} is lost: {verb.__name__}")
        verb(machine.machine_id)

    async def _create(self, web: Web) -> None:
        account = self.accounts[self.chance.randrange(len(self.accounts))]
        wanted = PodWanted(
            IMAGE,
            clouds=True,
            environment={"A": "b"},
            ports=[8888],
            budget=Money.usd("1") if self.chance.random() < 0.3 else None,
            max_duration_seconds=self.chance.choice((None, None, 600)),
        )
        ctx = web.ctx
        async with ctx.db.begin() as tx:
            made = await service.create(tx, ctx, account, wanted)
            self.asked[made.pod.pod_id] = account
        web.note(f"own image {made.pod.pod_id} asked for")

    async def _stop(self, web: Web, key: PodId) -> None:
        async with web.ctx.db.begin() as tx:
            await service.stop(tx, web.ctx, await self._held(tx, key))
        web.note(f"stop asked for {key}")

    async def _start(self, web: Web, key: PodId) -> None:
        async with web.ctx.db.begin() as tx:
            await service.start(tx, web.ctx, await self._held(tx, key))
        web.note(f"start asked for {key}")

    async def _end(self, web: Web, key: PodId) -> None:
        self.ended.add(key)
        async with web.ctx.db.begin() as tx:
            pod = await self._held(tx, key)
            await service.terminate(tx, web.ctx, pod, delete_volumes=False)
        web.note(f"end asked for {key}")

    async def _held(self, tx: Tx, key: PodId) -> Pod:
        found = await store.find(tx, key, lock=True)
        assert found is not None, "it was made, or nobody remembers it"
        return found

    def end_all(self, web: Web) -> None:
        for key in self.asked:
            web.begin(f"last end of {key}", lambda key=key: self._end(web, key))  # type: ignore[misc]

    async def unsettled(self, ctx: Ctx) -> list[str]:
        """Those that are not as asked, and cannot say why."""
        found = []
        async with ctx.db.begin() as tx:
            for key in self.asked:
                pod = await store.find(tx, key)
                if pod is None:
                    continue  # whoever wrote it down died before the commit
                whole = await service.whole(tx, pod)
                run = whole.runs.run
                waits = whole.state.value == "waiting" and run is not None and run.waiting_reason
                if whole.state.value not in SETTLED and not waits:
                    found.append(f"{key} is {whole.state.value}")
        return found


def bills(rows: Rows, world: World) -> list[Broken]:
    """The meter counts no time in which the cloud did not run the image."""
    skies = {sky.name: sky for sky in world.skies}
    broken = []
    for row in rows:
        sky = skies[row["cloud"]]
        machine = sky.world.machines.get(row["machine_id"])
        lag_ns = round(sky.world.rules.listing_lag_seconds * NS)
        if machine is None or not ran_about(machine, row["evidence_ns"], lag_ns, CALL_NS):
            said = f"{row['lease_id']} on {row['machine_id']} at {row['evidence_ns']}"
            broken.append(Broken("evidence without an agent is the cloud's machine running", said))
    return broken


def ran_about(machine: Machine, at_ns: int, before_ns: int, after_ns: int) -> bool:
    """It ran at some moment between so long before and so long after."""
    ends = [at for at, _ in machine.past[1:]] + [at_ns + after_ns + 1]
    return any(
        state is State.RUNNING and began <= at_ns + after_ns and ended >= at_ns - before_ns
        for (began, state), ended in zip(machine.past, ends, strict=True)
    )
