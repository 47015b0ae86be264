"""How an emulated cloud behaves, and what a new machine's fate is."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from kernel.clock import NS
from standins.clouds.faults import Fault, FaultKind
from standins.clouds.machine import Event, Machine, Program, State


@dataclass(frozen=True, slots=True)
class Rules:
    """How one cloud behaves. Spans are (least, most) seconds; chance picks."""

    accept_seconds: tuple[float, float] = (0.1, 0.3)
    boot_seconds: tuple[float, float] = (0.5, 1.5)
    terminate_seconds: tuple[float, float] = (0.2, 0.6)
    listing_lag_seconds: float = 2.0
    linger_seconds: float = 0.0  # a machine that is gone is listed as gone for so long
    balance_nano: int | None = None  # prepaid; None: never ends
    machines_max: int | None = None  # the account's limit
    gpu_billed: frozenset[State] = frozenset({State.BOOTING, State.RUNNING, State.TERMINATING})
    rate_limits: bool = True
    gone_kept_max: int = 10_000  # of older ones only the cost is known


@dataclass(frozen=True, slots=True)
class Exit:
    machine_id: str
    code: int


class Launcher(Protocol):
    """Runs the machines' programs. ``start`` may be repeated after ``kill``."""

    def start(self, machine_id: str, program: Program, *, gpus: int) -> None: ...

    def exits(self) -> list[Exit]:
        """The machines that ended by themselves since the last call: a container with its
        program, a virtual machine only when it turned itself off."""
        ...

    def kill(self, machine_id: str) -> None: ...

    def forget(self, machine_id: str) -> None:
        """The machine is gone; so is its disk."""
        ...

    def output(self, machine_id: str, lines_max: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A machine as a reading shows it, which may be how it was a while ago."""

    machine: Machine
    state: State


def short_id(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=14))


def boot_plan(
    machine: Machine, rules: Rules, fault: Fault | None, chance: random.Random, begun_ns: int
) -> deque[tuple[int, Event]]:
    """What will happen to a machine that was just ordered or started, when, by its fate."""
    kind = fault.fault if fault else None
    fault_ns = begun_ns + round(fault.seconds * NS) if fault else 0
    boot_ns = begun_ns + span_ns(rules.accept_seconds, chance)
    typical = machine.stock.boot_seconds
    up_ns = boot_ns + span_ns(rules.boot_seconds if typical is None else (typical, typical), chance)
    ahead = deque([(boot_ns, Event.BOOT)])
    if kind == FaultKind.ENDLESS_BOOT:
        return ahead
    if kind == FaultKind.FAILED_BOOT:
        ahead.append((max(boot_ns, fault_ns), Event.FAIL))
        return ahead
    if kind == FaultKind.SLOW_BOOT:
        up_ns = max(boot_ns, fault_ns)
    ahead.append((up_ns, Event.UP))
    if fault and kind == FaultKind.INTERRUPTED:
        ahead.append((up_ns + round(fault.seconds * NS), Event.INTERRUPT))
    return ahead


def span_ns(seconds: tuple[float, float], chance: random.Random) -> int:
    return round(chance.uniform(*seconds) * NS)
