"""Counts what each lease's work ran, and seals it in signed records of a minute each.

Time is counted from one look to the next by what the earlier look saw, so that an agent that
dies loses the time since its last look and never makes any up. What is sealed lies on disk until
the brain has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from kernel.clock import NS, Clock
from kernel.errors import GanglionError
from kernel.wire.agent import Beat, BeatAnswer, LeaseSeenState
from kernel.wire.minutes import (
    FIRST,
    RECORDS_MAX,
    Minute,
    MinuteAnswer,
    MinuteBatch,
    minute_hash,
    minute_input,
)
from node_agent.files import read_if_there, write_private

log = structlog.get_logger(__name__)

MINUTE_NS = 60 * NS
LOOK_NS_MAX = 30 * NS  # a longer gap between two looks is counted as so long: nobody was looking
WAITING_MAX = 20_000  # records kept for a brain that is away: two weeks of one lease
SHIP_SECONDS = 15.0
WORKING = frozenset({LeaseSeenState.LOADING, LeaseSeenState.READY, LeaseSeenState.STOPPING})


class Running(Struct, frozen=True):
    """One lease's open minute, and the head of its chain."""

    epoch: int
    number: int
    previous: str
    start_ns: int
    looked_ns: int
    gpus: int  # that worked for it, at the last look
    container_ns: int = 0
    gpu_ns: int = 0


class Book(Struct, frozen=True):
    """All that must outlive the agent's process."""

    host_boot_id: str
    open: dict[str, Running] = {}
    sealed: list[Minute] = []


@dataclass(frozen=True)
class Signer:
    """Who signs. ``sign`` takes the bytes and gives the signature."""

    node_id: str
    sign: Callable[[bytes], bytes]


def look(book: Book, working: Mapping[str, tuple[int, int]], signer: Signer, now_ns: int) -> Book:
    """Count up to now and go on with ``working`` (lease -> epoch and GPUs at work now).

    A minute that is full is sealed; so is what is open of a lease that works no more.
    """
    kept: dict[str, Running] = {}
    sealed = list(book.sealed)
    for lease_id, running in book.open.items():
        counted = _counted(running, now_ns)
        epoch, gpus = working.get(lease_id, (0, 0))
        over = epoch != running.epoch
        if over or now_ns - running.start_ns >= MINUTE_NS:
            record = _seal(lease_id, counted, signer, now_ns)
            sealed.append(record)
            head = minute_hash(signer.node_id, record)
            counted = Running(running.epoch, running.number + 1, head, now_ns, now_ns, 0)
        if not over:
            kept[lease_id] = replace(counted, gpus=gpus)
    for lease_id, (epoch, gpus) in working.items():
        if lease_id not in kept:
            kept[lease_id] = Running(epoch, 0, FIRST, now_ns, now_ns, gpus)
    return Book(book.host_boot_id, kept, sealed[-WAITING_MAX:])


def _ended(book: Book, signer: Signer) -> list[Minute]:
    """The open minutes of a boot that is over."""
    return [
        _seal(lease_id, running, signer, running.looked_ns)
        for lease_id, running in book.open.items()
    ]


def forget(book: Book, answer: MinuteAnswer) -> Book:
    """Drop what the brain has, or does not want."""
    waiting = [
        record
        for record in book.sealed
        if record.lease_id not in answer.refused
        and record.number >= answer.kept.get(record.lease_id, 0)
    ]
    return replace(book, sealed=waiting)


def working(beat: Beat) -> dict[str, tuple[int, int]]:
    """Of each lease whose work runs: its epoch, and how many of its GPUs are there."""
    there = {gpu.uuid for gpu in beat.gpus if not gpu.lost}
    return {
        seen.lease_id: (seen.epoch, sum(uuid in there for uuid in seen.gpu_uuids))
        for seen in beat.leases
        if seen.state in WORKING
    }


def _counted(running: Running, now_ns: int) -> Running:
    span_ns = min(max(now_ns - running.looked_ns, 0), LOOK_NS_MAX)
    return replace(
        running,
        looked_ns=now_ns,
        container_ns=running.container_ns + span_ns,
        gpu_ns=running.gpu_ns + span_ns * running.gpus,
    )


def _seal(lease_id: str, running: Running, signer: Signer, now_ns: int) -> Minute:
    record = Minute(
        lease_id=lease_id,
        epoch=running.epoch,
        number=running.number,
        start_ns=running.start_ns,
        end_ns=now_ns,
        container_ns=running.container_ns,
        gpu_ns=running.gpu_ns,
        previous=running.previous,
    )
    return replace(record, signature=signer.sign(minute_input(signer.node_id, record)).hex())


class Minutes:
    """The extra: looks at each beat that is made, and ships what is sealed."""

    def __init__(
        self,
        path: Path,
        *,
        host_boot_id: str,
        signer: Signer,
        ship: Callable[[MinuteBatch], Awaitable[MinuteAnswer]],
        clock: Clock,
        boot_ns: Callable[[], int],
    ) -> None:
        self._path = path
        self._signer = signer
        self._ship = ship
        self._clock = clock
        self._boot_ns = boot_ns
        self._book = self._load(host_boot_id)

    def tell(self, beat: Beat) -> None:
        after = look(self._book, working(beat), self._signer, self._boot_ns())
        if after != self._book:
            self._keep(after)

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        return

    async def run(self) -> None:
        while True:
            await self._clock.sleep(SHIP_SECONDS)
            try:
                await self.ship_sealed()
            except GanglionError as error:
                log.debug("minutes_not_shipped", reason=error.detail)

    async def ship_sealed(self) -> None:
        """Send what is sealed, oldest first. Raises what the brain's link raises."""
        while self._book.sealed:
            batch = MinuteBatch(self._book.sealed[:RECORDS_MAX])
            answer = await self._ship(batch)
            for lease_id, reason in answer.refused.items():
                log.warning("minutes_refused", lease_id=lease_id, reason=reason)
            before = len(self._book.sealed)
            self._keep(forget(self._book, answer))
            if len(self._book.sealed) >= before:
                return  # nothing was taken: not in a circle

    def _load(self, host_boot_id: str) -> Book:
        """What an earlier process left. Of an earlier boot what was open ended at its last look."""
        content = read_if_there(self._path)
        if content is None:
            return Book(host_boot_id)
        try:
            book = msgspec.json.decode(content, type=Book)
        except msgspec.MsgspecError as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            self._path.replace(aside)
            log.error("minutes_damaged", kept_as=str(aside), reason=str(error))
            return Book(host_boot_id)
        if book.host_boot_id != host_boot_id:
            return Book(host_boot_id, sealed=[*book.sealed, *_ended(book, self._signer)])
        # Nobody looked while there was no agent: the time until the first look is not counted.
        now_ns = self._boot_ns()
        resumed = {key: replace(one, looked_ns=now_ns) for key, one in book.open.items()}
        return replace(book, open=resumed)

    def _keep(self, book: Book) -> None:
        self._book = book
        write_private(self._path, msgspec.json.encode(book))
