"""The checks of this node's GPUs, beside the lease loop: a claim always wins over a check.

A check runs while the brain names it and nobody wants its GPU. Each stage is told in every beat
until the brain names the check no more, so a lost beat or answer changes nothing.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from msgspec.structs import replace

from kernel import workproof as proof
from kernel.clock import NS, Clock
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    CheckOrder,
    CheckRefusal,
    CheckStage,
    CheckTold,
    OpenedBlock,
    OpenedRow,
)
from node_agent.checks.runner import NotAble, Runner, Worker, WorkerDied
from node_agent.records import AgentState, Work

log = structlog.get_logger(__name__)
CHECKS_MAX = 64
SETTLE_NS = 10 * NS  # after a check its memory may still be shown
IDLE_SECONDS = 3600.0
END_SECONDS_MAX = 10.0


@dataclass
class _Job:
    """One check. ``newer`` is set when its order says more than before."""

    order: CheckOrder
    told: CheckTold
    newer: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Checks:
    """An ``Extra`` and an ``Onlooker`` of the agent. ``ring`` sends the next beat at once."""

    def __init__(
        self,
        runner: Runner,
        clock: Clock,
        boot_ns: Callable[[], int],
        *,
        node_id: str,
        host_boot_id: str,
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._boot_ns = boot_ns
        self._node_id, self._host_boot_id = node_id, host_boot_id
        self._jobs: dict[str, _Job] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._held: set[str] = set()  # GPUs that a lease wants
        self._closed = False
        self._turn = 0  # whose opened blocks the next beat shows
        self._used_ns: dict[str, int] = {}  # when a check was last on a GPU
        self.ring: Callable[[], None] = lambda: None

    def tell(self, beat: Beat) -> None:
        """The checks' stages; and what our own checks use of a GPU is nobody else's use."""
        beat.checks = self._told()
        now_ns = self._boot_ns()
        for job in self._jobs.values():
            self._used_ns[job.order.gpu_uuid] = now_ns
        beat.gpus = [
            replace(gpu, foreign_use=False)
            if gpu.foreign_use and now_ns - self._used_ns.get(gpu.uuid, -SETTLE_NS) < SETTLE_NS
            else gpu
            for gpu in beat.gpus
        ]

    def _told(self) -> list[CheckTold]:
        """Every check; what was opened only of one a beat, in turn: a beat has a largest size."""
        told = [job.told for job in self._jobs.values()]
        opened = [one.check_id for one in told if one.stage is CheckStage.OPENED]
        self._turn += 1
        shown = opened[self._turn % len(opened)] if opened else ""
        return [
            replace(one, stage=CheckStage.RECALLED, blocks=[], rows=[])
            if one.stage is CheckStage.OPENED and one.check_id != shown
            else one
            for one in told
        ]

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        if answer.desired is not None:
            self._held = {uuid for lease in answer.desired.leases for uuid in lease.gpu_uuids}
        wanted = {order.check_id: order for order in answer.checks[:CHECKS_MAX]}
        for check_id, job in list(self._jobs.items()):
            if check_id not in wanted or job.order.gpu_uuid in self._held:
                self._give_up(check_id)
        for check_id, order in wanted.items():
            known = self._jobs.get(check_id)
            if known is None and order.gpu_uuid not in self._held and not self._closed:
                self._begin(order)
            elif known is not None and known.order != order:
                known.order = order
                known.newer.set()

    def see(self, state: AgentState, works: Sequence[Work]) -> None:
        """A GPU that is held, or has work of ours, has no check from this moment on."""
        self._held = {uuid for held in state.leases.values() for uuid in held.lease.gpu_uuids}
        self._held |= {uuid for work in works for uuid in work.gpu_uuids}
        for check_id, job in list(self._jobs.items()):
            if job.order.gpu_uuid in self._held:
                self._give_up(check_id)

    async def run(self) -> None:
        """Waits until it is cancelled, then ends what runs."""
        try:
            while True:
                await self._clock.sleep(IDLE_SECONDS)
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up what runs and wait for its end. Beats go on until the leases' work has ended, but
        no check begins: one whose process is being started would hold up the agent's own end."""
        self._closed = True
        for check_id in list(self._jobs):
            self._give_up(check_id)
        end_ns = self._clock.monotonic_ns() + int(END_SECONDS_MAX * NS)
        while self._ending and self._clock.monotonic_ns() < end_ns:
            await asyncio.wait(set(self._ending), timeout=END_SECONDS_MAX)

    def _begin(self, order: CheckOrder) -> None:
        job = _Job(order, CheckTold(order.check_id, CheckStage.RUNNING))
        self._jobs[order.check_id] = job
        job.task = asyncio.create_task(self._do(job), name=f"check {order.check_id}")
        log.info("check_begun", check_id=order.check_id, gpu=order.gpu_uuid)

    def _give_up(self, check_id: str) -> None:
        job = self._jobs.pop(check_id)
        if job.task is not None and not job.task.done():
            job.task.cancel()
            self._ending.add(job.task)
            job.task.add_done_callback(self._ending.discard)
            log.info("check_given_up", check_id=check_id, gpu=job.order.gpu_uuid)

    async def _do(self, job: _Job) -> None:
        worker: Worker | None = None
        try:
            async with asyncio.timeout(job.order.seconds_max):
                worker = await self._runner.start(job.order)
                await self._stages(job, worker)
        except NotAble as why:
            self._refuse(job, CheckRefusal.NOT_ABLE, str(why))
        except WorkerDied as why:
            self._refuse(job, CheckRefusal.FAILED, str(why))
        except TimeoutError:
            self._refuse(job, CheckRefusal.FAILED, f"Not done in {job.order.seconds_max} s.")
        except (ValueError, KeyError, TypeError) as wrong:  # the worker answered nonsense
            self._refuse(job, CheckRefusal.FAILED, f"The worker's answer is wrong: {wrong!r}.")
        finally:
            if worker is not None:
                await asyncio.shield(self._end(worker))

    def _end(self, worker: Worker) -> asyncio.Task[None]:
        """Its end, which a check that is given up a second time does not break off."""
        ending = asyncio.create_task(worker.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    async def _stages(self, job: _Job, worker: Worker) -> None:
        if not self._take(job, CheckStage.COMMITTED, await worker.ask(self._first_line(job.order))):
            return
        while not job.order.recall:
            await self._more(job)
        line: dict[str, Any] = {"do": "recall", "key": job.order.recall}
        if not self._take(job, CheckStage.RECALLED, await worker.ask(line)):
            return
        while job.order.sample is None:
            await self._more(job)
        sample = job.order.sample
        shown = {"blocks": sample.blocks, "product": sample.product, "rows": sample.rows}
        self._take(job, CheckStage.OPENED, await worker.ask({"do": "open", "sample": shown}))

    def _first_line(self, order: CheckOrder) -> dict[str, Any]:
        rows, inner, columns = order.matrix
        key = proof.check_key(
            bytes.fromhex(order.seed),
            order.check_id,
            self._node_id,
            self._host_boot_id,
            order.gpu_uuid,
        )
        return {
            "do": "work",
            "key": key.hex(),
            "blocks": order.blocks,
            "block_bytes": order.block_bytes,
            "readings": order.readings,
            "products": order.products,
            "rows": rows,
            "inner": inner,
            "columns": columns,
        }

    async def _more(self, job: _Job) -> None:
        await job.newer.wait()
        job.newer.clear()

    def _take(self, job: _Job, stage: CheckStage, said: dict[str, Any]) -> bool:
        """Take an answer of the worker into what is told; False when it refused."""
        if "refusal" in said:
            self._refuse(job, CheckRefusal(said["refusal"]), str(said["reason"]))
            return False
        job.told = replace(job.told, stage=stage, **_fields(said))
        self.ring()
        return True

    def _refuse(self, job: _Job, refusal: CheckRefusal, reason: str) -> None:
        log.warning("check_refused", check_id=job.order.check_id, reason=reason)
        job.told = replace(job.told, stage=CheckStage.REFUSED, refusal=refusal, reason=reason[:500])
        self.ring()


def _fields(said: dict[str, Any]) -> dict[str, Any]:
    """The worker's words as they travel to the brain."""
    found = dict(said)
    if "blocks" in found:
        found["blocks"] = [
            OpenedBlock(one["reading"], one["block"], [b64decode(part) for part in one["path"]])
            for one in said["blocks"]
        ]
        found["rows"] = [
            OpenedRow(
                one["row"], b64decode(one["content"]), [b64decode(part) for part in one["path"]]
            )
            for one in said["rows"]
        ]
    return found
