"""A brain that checks, and nodes that beat, over one manual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import select, update

from brain import trust
from brain.plumbing import Ctx
from brain.trust import TrustTerms
from brain.trust.core.kinds import CheckKind
from brain.trust.models import CheckFinding, CheckMode, NodeTrust, WorkCheck
from brain.trust.states import LIVE
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId
from kernel.wire.agent import GpuReading
from node_agent.checks.extra import Checks
from tests.support.fleet import Rig, brain_front
from tests.support.liars import Card, Checked, TrialRunner, TrialWorker, TrialYardstick, settled

STEP_SECONDS = 2.0
BEAT_NS = 10 * NS
TERMS = TrustTerms(check_image="trial", yardstick=TrialYardstick())


@dataclass
class Trial:
    rig: Rig
    ctx: Ctx
    clock: ManualClock
    part: trust.TrustPart
    terms: TrustTerms = TERMS
    nodes: dict[str, Checked] = field(default_factory=dict)

    async def node(
        self,
        name: str,
        gpus: list[GpuReading],
        cards: list[Card | None] | None = None,
        worker: type[TrialWorker] = TrialWorker,
        account: AccountId | None = None,
    ) -> Checked:
        """A node of a provider of its own, unless ``account`` is said. Honest cards if none."""
        self.rig.account = account or self.ctx.ids.new(AccountId)
        agent = await self.rig.agent(*gpus)
        behind = cards if cards is not None else [Card() for _ in gpus]
        runner = TrialRunner(
            self.clock, {gpu.uuid: card for gpu, card in zip(gpus, behind, strict=True)}, worker
        )
        checks = Checks(
            runner,
            self.clock,
            self.clock.monotonic_ns,
            node_id=str(agent.node_id),
            host_boot_id=agent.boot_id,
        )
        self.nodes[name] = Checked(agent, checks, self.clock)
        return self.nodes[name]

    async def enforce(self, *kinds: CheckKind) -> None:
        """As if an administrator had, a while ago."""
        await self.look()
        async with self.ctx.db.begin() as tx:
            for kind in kinds or tuple(CheckKind):
                wanted = update(CheckMode).where(CheckMode.kind == kind.value)
                await tx.execute(wanted.values(mode="enforced"))

    async def look(self) -> trust.TrustStep:
        await self.part.flush()
        found = await trust.look(self.ctx, self.terms)
        await self.part.look()
        return found

    async def pass_seconds(self, seconds: float) -> None:
        """Time passes; nodes beat at their pace, or at once when something is to be told."""
        end_ns = self.clock.now_ns() + int(seconds * NS)
        while self.clock.now_ns() < end_ns:
            self.clock.advance(STEP_SECONDS)
            await settled()
            for node in self.nodes.values():
                if node.rung or self.clock.now_ns() - node.beaten_ns >= BEAT_NS:
                    await node.beat()
            await self.rig.front.flush()
            await self.look()

    async def round(self, seconds_max: float = 600) -> None:
        """Every node's check is due; returns when all checks have ended."""
        await self.look()
        async with self.ctx.db.begin() as tx:
            await tx.execute(update(NodeTrust).values(due_ns=0))
        end_ns = self.clock.now_ns() + int(seconds_max * NS)
        await self.pass_seconds(STEP_SECONDS)
        while await self.under_way():
            assert self.clock.now_ns() < end_ns, "the checks do not end"
            await self.pass_seconds(STEP_SECONDS)

    async def under_way(self) -> list[WorkCheck]:
        async with self.ctx.db.begin() as tx:
            return list(await tx.scalars(select(WorkCheck).where(WorkCheck.state.in_(LIVE))))

    async def failures(self, name: str) -> dict[str, str]:
        """Kinds that the node ever failed, with the newest reason."""
        return {f.kind: f.reason for f in await self.findings(name) if not f.passed}

    async def findings(self, name: str) -> list[CheckFinding]:
        node_id = self.nodes[name].agent.node_id
        async with self.ctx.db.begin() as tx:
            rows = await tx.scalars(
                select(CheckFinding)
                .where(CheckFinding.node_id == node_id)
                .order_by(CheckFinding.at_ns)
            )
            return list(rows)


@asynccontextmanager
async def trial(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Trial]:
    async with brain_front(ctx, clock, valkey_url) as rig:
        part = trust.TrustPart(ctx)
        rig.front.parts = (*rig.front.parts, part)
        made = Trial(rig, ctx, clock, part)
        yield made
        for node in made.nodes.values():
            node.checks.hear(await node.agent.beat(), 0)
            for job in list(node.checks._jobs):
                node.checks._give_up(job)
        await settled()
