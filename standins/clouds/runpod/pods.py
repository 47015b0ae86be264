"""Pods of the RunPod stand-in: one order for both APIs, and what both tell of a pod's state."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from kernel.clock import NS
from standins.clouds.machine import LIFE, Event, Machine, Program, Rental, State
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Seen
from standins.clouds.runpod.catalog import country
from standins.clouds.stock import Shelf
from standins.clouds.world import World

NO_INSTANCES = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)
ENV_MAX = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """A pod that somebody wants, as either API says it. ``cloud`` "": any."""

    name: str
    image: str
    gpu_id: str = ""
    flavor: str = ""  # of a pod without GPUs
    count: int = 1  # GPUs, or virtual processors
    cloud: str = ""
    centers: tuple[str, ...] = ()
    country: str = ""
    args: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[str, ...] = ()
    disk_gb: int = 10
    volume_gb: int = 0
    volume_path: str = ""
    network_volume: str = ""
    bid_nano: int | None = None


def order(world: World, wish: Wish) -> Machine:
    """Rent the first stock that fits and has room; ``Refused`` where there is none."""
    shelves = [shelf for shelf in world.shelves() if _fits(shelf, wish)]
    if not shelves:
        raise Refused(Trouble.NO_CAPACITY, NO_INSTANCES)
    roomy = [shelf for shelf in shelves if shelf.free >= wish.count]
    chosen = min(roomy or shelves, key=lambda shelf: -shelf.free)
    rental = Rental(
        stock_key=chosen.stock.key,
        tag=wish.name,
        gpus=wish.count,
        program=_program(wish),
        disk_gib=wish.disk_gb + wish.volume_gb,
        bid_nano=wish.bid_nano,
        details={"wish": wish},
    )
    return world.create(rental)


def resume(world: World, pod_id: str, count: int | None, *, bid_nano: int | None = None) -> Machine:
    """Start a stopped pod, with another number of GPUs or at another bid where one is given."""
    machine = world.get(pod_id).machine
    if not LIFE.can(machine.state, Event.START):
        raise Refused(Trouble.CONFLICT, f"A pod that is {machine.state} cannot be resumed.")
    before, least = machine.rental, machine.stock.bid_nano
    if bid_nano is not None and (not machine.spot or least is None or bid_nano < least):
        raise Refused(Trouble.BAD_REQUEST, "The pod takes no bid, or not so low a one.")
    if count is not None and not 1 <= count <= machine.stock.gpus:
        raise Refused(Trouble.BAD_REQUEST, f"1 to {machine.stock.gpus} GPUs, please.")
    machine.rental = replace(
        before, gpus=count or before.gpus, bid_nano=bid_nano or before.bid_nano
    )
    try:
        return world.start(pod_id)
    except Refused:
        machine.rental = before
        raise


def _fits(shelf: Shelf, wish: Wish) -> bool:
    stock = shelf.stock
    if wish.flavor:
        kind = stock.extra.get("flavor") == wish.flavor
    else:
        kind = bool(stock.gpu_name) and stock.gpu_name == wish.gpu_id
    cloud = not wish.cloud or stock.secure == (wish.cloud == "SECURE")
    center = not wish.centers or stock.region in wish.centers
    return kind and cloud and center and (not wish.country or country(stock) == wish.country)


def _program(wish: Wish) -> Program | None:
    """What the container runs: its arguments. Images are not had here, so without arguments a
    pod is up and runs nothing."""
    try:
        argv = tuple(shlex.split(wish.args))
    except ValueError as wrong:
        raise Refused(Trouble.BAD_REQUEST, f"The start command cannot be read: {wrong}.") from wrong
    if not argv:
        return None
    return Program(argv, dict(wish.env), id_variable="RUNPOD_POD_ID")


def wish_of(machine: Machine) -> Wish:
    """As it was ordered; a machine that came into the world by another way tells what it can."""
    wish = machine.details.get("wish")
    if isinstance(wish, Wish):
        return wish
    return Wish(machine.tag, "", gpu_id=machine.stock.gpu_name, count=machine.rental.gpus)


def is_locked(machine: Machine) -> bool:
    return bool(machine.details.get("locked"))


def shown_state(seen: Seen) -> State:
    """RunPod has no word for a pod on its way out: it is told as it was before."""
    if seen.state != State.TERMINATING:
        return seen.state
    ends = (State.TERMINATING, State.GONE)
    return [state for _, state in seen.machine.past if state not in ends][-1]


def started_ns(machine: Machine) -> int | None:
    return next((at for at, state in reversed(machine.past) if state == State.RUNNING), None)


def uptime_seconds(world: World, machine: Machine) -> int:
    return 0 if machine.up_ns is None else max((world.now_ns - machine.up_ns) // NS, 0)


def told_time(world: World, at_ns: int) -> str:
    """RFC 3339, by the clock that the fault plan may have put off."""
    return (
        datetime.fromtimestamp((at_ns + world.told_ns) // NS, UTC)
        .isoformat()
        .replace("+00:00", "Z")
    )


def port_of(text: str) -> tuple[int, str]:
    """``22/tcp`` is (22, "tcp"); raises ``Refused``."""
    number, _, kind = text.partition("/")
    if not number.isdigit() or kind not in ("tcp", "http", "udp"):
        raise Refused(Trouble.BAD_REQUEST, f"{text[:40]!r} is not a port such as 8888/http.")
    return int(number), kind


def checked_env(given: Mapping[str, Any]) -> dict[str, str]:
    if len(given) > ENV_MAX:
        raise Refused(Trouble.BAD_REQUEST, f"At most {ENV_MAX} environment variables.")
    return {str(name): str(value) for name, value in given.items()}
