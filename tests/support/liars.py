"""A fleet of small machines for checks: the agent's real checks over GPUs that are modelled.

A ``Card`` has so much room and works at its own pace of the manual clock; which cards stand behind
the UUIDs that a node tells is the node's own affair, and so are its lies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from brain.trust.core.classes import Size, Yardstick, impossible
from kernel import workproof as proof
from kernel.clock import ManualClock
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    CheckOrder,
    CheckStage,
    CheckTold,
    GpuReading,
    LeaseSeen,
)
from node_agent.checks.cpu import CpuKernel
from node_agent.checks.extra import Checks
from node_agent.checks.work import NoGpu, NoRoom, Work
from tests.support.fleet import Agent

FAST, SLOW = "Trial Fast 24", "Trial Slow 24"
MIB_A_BLOCK = 1024
FILL_MS = {FAST: 1000, SLOW: 10_000}  # a block; reading and multiplying cost little beside it
READ_MS, PRODUCT_MS = 20, 200


class TrialYardstick(Yardstick):
    """Small checks, timed as the modelled cards work."""

    def size(self, gpu_name: str, memory_mib: int, *, simulated: bool) -> Size:
        return Size(max(1, memory_mib * 9 // 10 // MIB_A_BLOCK), 256, 6, (16, 64, 64), 2)

    def expected_ms(self, gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
        return cost_ms(FILL_MS.get(gpu_name, 1000), asked.blocks, asked.readings, asked.products)

    def recall_ms(self, gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
        return READ_MS * asked.blocks

    def impossible(self, gpu_name: str, memory_mib: int) -> str:
        return impossible(gpu_name, memory_mib)


def cost_ms(fill_ms: int, blocks: int, readings: int, products: int) -> int:
    return blocks * (fill_ms + READ_MS * readings) + PRODUCT_MS * products


@dataclass
class Card:
    """A physical GPU: its room, its pace, and what is in use now."""

    mib: int = 24_576
    fill_ms: int = FILL_MS[FAST]
    used_mib: int = 0


class CardKernel(CpuKernel):
    """The twin, with a card's room for its blocks."""

    def __init__(self, card: Card) -> None:
        super().__init__(1 << 30)
        self.card = card
        self.held_mib = 0

    def fill(self, key: bytes, blocks: int, block_bytes: int) -> None:
        wanted = blocks * MIB_A_BLOCK
        free = self.card.mib - self.card.used_mib
        if wanted > free:
            raise NoRoom(f"{wanted} MiB are asked for, {free} MiB are free.")
        self.held_mib = wanted
        self.card.used_mib += wanted
        super().fill(key, blocks, block_bytes)


@dataclass
class TrialWorker:
    """Does the real work at once and answers when its card would have."""

    order: CheckOrder
    card: Card
    clock: ManualClock
    kernel: CardKernel
    work: Work | None = None
    kernel_kind: ClassVar[type[CardKernel]] = CardKernel

    async def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        try:
            return await getattr(self, f"do_{line['do']}")(line)  # type: ignore[no-any-return]
        except NoRoom as problem:
            return {"refusal": "no_room", "reason": str(problem)}

    async def do_work(self, line: dict[str, Any]) -> dict[str, Any]:
        self.work = Work(self.kernel, self.keyed(line), lambda: 0)
        said = self.work.commit()
        return await self.after(self.commit_ms(), said)

    def keyed(self, line: dict[str, Any]) -> dict[str, Any]:
        return line

    def commit_ms(self) -> int:
        order = self.order
        return cost_ms(self.card.fill_ms, order.blocks, order.readings, order.products)

    async def after(self, ms: int, said: dict[str, Any]) -> dict[str, Any]:
        """The answer when ``ms`` have passed, with that time as its own word."""
        await self.clock.sleep(ms / 1000)
        return {**said, "fill_ms": ms, "read_ms": 0, "multiply_ms": 0}

    async def do_recall(self, line: dict[str, Any]) -> dict[str, Any]:
        assert self.work is not None
        await self.clock.sleep(READ_MS * self.order.blocks / 1000)
        return self.work.recall(line["key"])

    async def do_open(self, line: dict[str, Any]) -> dict[str, Any]:
        assert self.work is not None
        return self.work.open(line["sample"])

    async def end(self) -> None:
        self.card.used_mib -= self.kernel.held_mib
        self.kernel.held_mib = 0


class OfAnotherCheck(TrialWorker):
    """Shows what it computed for some other seed."""

    def keyed(self, line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "key": "00" * 32}


class Elsewhere(TrialWorker):
    """Has another machine do it, and says that it took no time."""

    async def after(self, ms: int, said: dict[str, Any]) -> dict[str, Any]:
        await self.clock.sleep(ms / 1000 + 60)
        return {**said, "fill_ms": ms, "read_ms": 0, "multiply_ms": 0}


class FalseTimes(TrialWorker):
    """Is slow, and says that it was fast."""

    async def after(self, ms: int, said: dict[str, Any]) -> dict[str, Any]:
        await self.clock.sleep(ms / 1000)
        return {**said, "fill_ms": 10, "read_ms": 10, "multiply_ms": 10}


class _Forgetful(CardKernel):
    """Keeps nothing; makes every block anew for each reading."""

    def fill(self, key: bytes, blocks: int, block_bytes: int) -> None:
        self._key, self._shape = key, (blocks, block_bytes)

    def read(self, key: bytes) -> Sequence[bytes]:
        blocks, block_bytes = self._shape
        weights = proof.words(proof.stream(key, 0, block_bytes))
        made = (proof.stream(self._key, index, block_bytes) for index in range(blocks))
        return [proof.digest(proof.words(block), weights) for block in made]


class MakesAnew(TrialWorker):
    """Fills nothing; its readings are right, and each costs what a filling costs."""

    kernel_kind = _Forgetful

    def commit_ms(self) -> int:
        return self.order.blocks * self.card.fill_ms * self.order.readings


class _Sampler(_Forgetful):
    """Knows nothing of the whole when it commits."""

    def read(self, key: bytes) -> Sequence[bytes]:
        return [proof.derive(key, "made up", index)[:8] for index in range(self._shape[0])]


class SamplesOnly(TrialWorker):
    """Commits to made-up digests in no time, and hopes for the sample."""

    kernel_kind = _Sampler

    def commit_ms(self) -> int:
        return 100


@dataclass
class TrialRunner:
    """The hand: which card stands behind a UUID, and who works on it."""

    clock: ManualClock
    cards: dict[str, Card | None]
    worker: type[TrialWorker] = TrialWorker

    async def start(self, order: CheckOrder) -> TrialWorker:
        card = self.cards[order.gpu_uuid]
        if card is None:
            return _NoCard(order, Card(), self.clock, CardKernel(Card()))
        return self.worker(order, card, self.clock, self.worker.kernel_kind(card))


class _NoCard(TrialWorker):
    async def do_work(self, line: dict[str, Any]) -> dict[str, Any]:
        try:
            raise NoGpu(f"No device {self.order.gpu_uuid}.")
        except NoGpu as problem:
            return {"refusal": "no_gpu", "reason": str(problem)}


@dataclass
class Checked:
    """An enrolled agent with the real checks beside it."""

    agent: Agent
    checks: Checks
    clock: ManualClock
    rung: bool = False
    beaten_ns: int = 0
    seen: tuple[LeaseSeen, ...] = ()
    keeps_telling: bool = False  # the lie: what was told once is told for ever
    told: dict[str, CheckTold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checks.ring = self._ring
        plain = self.agent.message

        def message(*leases: LeaseSeen) -> Beat:
            beat = plain(*leases)
            self.checks.tell(beat)
            if self.keeps_telling:
                self._keep(beat)
            return beat

        self.agent.message = message  # type: ignore[method-assign]

    def _ring(self) -> None:
        self.rung = True

    def _keep(self, beat: Beat) -> None:
        done = {one.check_id: one for one in beat.checks if one.stage is not CheckStage.RUNNING}
        self.told |= done
        for check_id in list(self.checks._jobs):
            made_up = CheckTold(check_id, CheckStage.COMMITTED, reason="done, honestly")
            self.told.setdefault(check_id, made_up)
        known = {one.check_id for one in beat.checks}
        beat.checks += [one for key, one in self.told.items() if key not in known]

    async def beat(self) -> BeatAnswer:
        self.rung, self.beaten_ns = False, self.clock.now_ns()
        answer = await self.agent.beat(*self.seen)
        self.checks.hear(answer, 0)
        await settled()
        return answer


async def settled() -> None:
    """Let every task do what it can do without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


def readings(*uuids: str, name: str = FAST, mib: int = 24_576) -> list[GpuReading]:
    return [GpuReading(uuid=uuid, name=name, memory_total_mib=mib) for uuid in uuids]
