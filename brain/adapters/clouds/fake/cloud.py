"""The fake cloud: no account, no secret, no network, and machines that really run.

It is for development and tests, and says so in its name. Its machines are processes of this
computer with simulated GPUs; what it knows lies in one folder, so that brain and worker see the
same cloud and a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from brain.adapters.clouds.fake import programs
from brain.adapters.clouds.fake.disk import MACHINES_MAX, Disk, Memory, Rented
from brain.adapters.clouds.fake.faults import (
    AFTER_THE_WORK,
    BEFORE_THE_WORK,
    TITLE,
    Fault,
    Plan,
    error_for,
    read_faults,
)
from brain.clouds import (
    CloudFacts,
    CloudOffer,
    CloudRefused,
    Listing,
    Machine,
    MachineMissing,
    MachineState,
    NothingFree,
    Order,
    Unreadable,
)
from kernel.clock import NS, Clock

CLOUD = "fake"
GPU_NAME, VRAM_MIB = "Simulated GPU 24 GB", 24_576
REGION = "here"
BALANCE_NANO = 1_000 * NS  # a thousand dollars that nobody spends
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be rented. ``capacity`` counts machines."""

    gpus: int
    price_nano: int
    capacity: int


KINDS = {"one": Kind(1, 2_000_000_000, 4), "two": Kind(2, 2_000_000_000, 2)}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take here, in seconds."""

    boot: float = 1.0
    slow_boot: float = 3600.0
    end: float = 0.5


class FakeCloud:
    """One fake cloud in one folder. Any number of processes may open it."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        faults: Sequence[Plan] = (),
        pace: Pace | None = None,
    ) -> None:
        self._disk = Disk(folder.absolute())
        self._clock = clock
        self._faults = tuple(faults)
        self._pace = pace or Pace()

    @property
    def name(self) -> str:
        return CLOUD

    @property
    def facts(self) -> CloudFacts:
        return CloudFacts(title=TITLE, boot_seconds_max=120, listing_lag_seconds=10)

    def fail(self, plans: str) -> None:
        """Add faults for the calls to come, as the setting has them."""
        read_faults(plans)
        with self._disk.opened() as memory:
            memory.told.append(plans)

    def end_all(self) -> None:
        """End every machine, now: for tests, and for who takes an installation down."""
        with self._disk.opened() as memory:
            for machine_id in memory.machines:
                programs.kill(self._disk.home(machine_id))
                programs.forget(self._disk.home(machine_id))
            memory.machines.clear()

    async def offers(self) -> list[CloudOffer]:
        return await self._call("offers", self._offers)

    async def create(self, order: Order) -> Machine:
        return await self._call("create", lambda memory: self._create(memory, order))

    async def machine(self, machine_id: str) -> Machine:
        return await self._call("machine", lambda memory: self._shown(_of(memory, machine_id)))

    async def find_by_tag(self, tag: str) -> list[Machine]:
        listing = await self.listing()
        if not listing.complete:
            raise Unreadable(listing.why_incomplete)
        return [machine for machine in listing.machines if machine.tag == tag]

    async def listing(self) -> Listing:
        return await self._call("listing", self._listing)

    async def terminate(self, machine_id: str) -> None:
        await self._call("terminate", lambda memory: self._end(_of(memory, machine_id)))

    async def stop(self, machine_id: str) -> None:
        await self._call("stop", lambda memory: self._stop(_of(memory, machine_id)))

    async def start(self, machine_id: str) -> None:
        await self._call("start", lambda memory: self._start(_of(memory, machine_id)))

    async def logs(self, machine_id: str, *, lines_max: int) -> list[str]:
        home = self._disk.home((await self.machine(machine_id)).machine_id)
        return await asyncio.to_thread(programs.output, home, lines_max)

    async def balance_nano(self) -> int:
        return BALANCE_NANO

    async def close(self) -> None:
        """The machines run on, as a cloud's do."""

    # --- every call: alone, after what is due, with the fault that it meets ----------------------

    async def _call(self, call: str, work: Callable[[Memory], T]) -> T:
        return await asyncio.to_thread(self._locked, call, work)

    def _locked(self, call: str, work: Callable[[Memory], T]) -> T:
        with self._disk.opened() as memory:
            self._settle(memory)
            fault = self._met(memory, call)
            if fault not in BEFORE_THE_WORK:
                done = work(memory)
                if fault not in AFTER_THE_WORK:
                    return self._bent(memory, done, fault)
        assert fault is not None, "only a fault comes here"
        raise error_for(fault)

    def _met(self, memory: Memory, call: str) -> Fault | None:
        """The first fault that fits and is not used up, counted."""
        told = [plan for text in memory.told for plan in read_faults(text)]
        for place, plan in enumerate([*self._faults, *told]):
            if not plan.fits(call):
                continue
            name = f"{place} {plan.name}"
            if plan.times and memory.met.get(name, 0) >= plan.times:
                continue
            memory.met[name] = memory.met.get(name, 0) + 1
            return plan.fault
        return None

    def _bent(self, memory: Memory, done: T, fault: Fault | None) -> T:
        """The answer under a fault that lets the work be done."""
        if fault == Fault.PARTIAL and isinstance(done, Listing):
            half = done.machines[: len(done.machines) // 2]
            return type(done)(half, complete=False, why_incomplete=f"{TITLE} stopped half-way.")
        if fault in {Fault.SLOW_BOOT, Fault.FAILED_BOOT} and isinstance(done, Machine):
            rented = memory.machines[done.machine_id]
            rented.failed = fault == Fault.FAILED_BOOT
            rented.up_ns = rented.made_ns + round(self._pace.slow_boot * NS)
        return done

    def _settle(self, memory: Memory) -> None:
        """Let everything happen that is due by now."""
        now = self._clock.now_ns()
        for rented in list(memory.machines.values()):
            home = self._disk.home(rented.machine_id)
            if rented.ends_ns and now >= rented.ends_ns:
                programs.kill(self._disk.home(rented.machine_id))
                programs.forget(home)
                del memory.machines[rented.machine_id]
            elif rented.started and not rented.stopped and programs.has_ended(home):
                rented.stopped = True  # a container goes with its program
            elif not (rented.started or rented.failed or rented.ends_ns) and now >= rented.up_ns:
                rented.started = programs.start(home, gpus=rented.gpus)
                rented.failed = not rented.started

    # --- the verbs ------------------------------------------------------------------------------

    def _offers(self, memory: Memory) -> list[CloudOffer]:
        free = {name: self._free(memory, name) for name in KINDS}
        return [
            CloudOffer(
                cloud=CLOUD,
                key=name,
                gpu_name=GPU_NAME,
                gpus=kind.gpus,
                vram_mib=VRAM_MIB,
                price_nano=kind.price_nano,
                region=REGION,
                free=free[name],
                boot_seconds=round(self._pace.boot),
            )
            for name, kind in KINDS.items()
            if free[name] > 0
        ]

    def _free(self, memory: Memory, name: str) -> int:
        taken = sum(rented.kind == name for rented in memory.machines.values())
        return KINDS[name].capacity - taken

    def _create(self, memory: Memory, order: Order) -> Machine:
        kind = KINDS.get(order.offer.key)
        if kind is None:
            raise CloudRefused("This is no offer of the fake cloud's.")
        if order.container is not None:
            raise CloudRefused("The fake cloud starts programs of this computer and no images.")
        if self._free(memory, order.offer.key) < 1 or len(memory.machines) >= MACHINES_MAX:
            raise NothingFree(f"{TITLE} has no free machine of this kind.")
        memory.number += 1
        now = self._clock.now_ns()
        made = Rented(
            machine_id=f"fake-{memory.number}",
            tag=order.tag,
            kind=order.offer.key,
            gpus=kind.gpus,
            made_ns=now,
            up_ns=now + round(self._pace.boot * NS),
        )
        programs.forget(self._disk.home(made.machine_id))
        programs.keep(self._disk.home(made.machine_id), order.boot)
        memory.machines[made.machine_id] = made
        return self._shown(made)

    def _listing(self, memory: Memory) -> Listing:
        found = tuple(self._shown(rented) for rented in memory.machines.values())
        return Listing(found, complete=True)

    def _end(self, rented: Rented) -> None:
        if not rented.ends_ns:
            programs.kill(self._disk.home(rented.machine_id))
            rented.ends_ns = self._clock.now_ns() + round(self._pace.end * NS)

    def _stop(self, rented: Rented) -> None:
        programs.kill(self._disk.home(rented.machine_id))
        rented.stopped = rented.started = True

    def _start(self, rented: Rented) -> None:
        if rented.ends_ns or not rented.stopped:
            raise CloudRefused(f"{TITLE} starts only what is stopped.")
        rented.stopped = rented.started = False
        rented.up_ns = self._clock.now_ns() + round(self._pace.boot * NS)

    def _shown(self, rented: Rented) -> Machine:
        state = _state(rented)
        kind = KINDS[rented.kind]
        return Machine(
            machine_id=rented.machine_id,
            tag=rented.tag,
            state=state,
            said=state.value,
            cost_nano_hour=0 if rented.stopped else kind.price_nano * kind.gpus,
            created_ns=rented.made_ns,
            gpu_name=GPU_NAME,
            gpus=rented.gpus,
            region=REGION,
        )


def _state(rented: Rented) -> MachineState:
    if rented.ends_ns:
        return MachineState.TERMINATING
    if rented.failed:
        return MachineState.FAILED
    if rented.stopped:
        return MachineState.STOPPED
    return MachineState.RUNNING if rented.started else MachineState.PROVISIONING


def _of(memory: Memory, machine_id: str) -> Rented:
    rented = memory.machines.get(machine_id)
    if rented is None:
        raise MachineMissing(f"{TITLE} does not know this machine.")
    return rented
