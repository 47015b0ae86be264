"""What must hold between the books and the clouds: nothing rented twice, forgotten or touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brain.provisioning.core import read_tag, tag_prefix
from kernel.clock import NS
from standins.clouds.machine import Machine, State
from tests.sim.whole.broken import Broken
from tests.sim.whole.look import Seen
from tests.sim.whole.process import INSTALLATION

if TYPE_CHECKING:
    from tests.sim.whole.life import World
    from tests.sim.whole.skies import Sky

YOUNG_NS = 120 * NS  # a sweeper leaves what is younger alone: it may not be listed yet
SWEEPS = 2  # so many complete looks at an account, and nothing of ours is unknown
STANDING = frozenset({"booting", "enrolled", "serving", "terminating"})
ENDED = frozenset({"terminated", "absent"})
HANDED_OVER = frozenset({"quarantined", "destroying"})
LAWS = 6


@dataclass(frozen=True)
class Books:
    """What the database says of machines."""

    intents: Mapping[str, Any]
    unknown: Mapping[tuple[str, str], str]
    sweeps: Mapping[str, list[int]]  # when each complete one began


@dataclass
class CloudLaws:
    """``orphans``: since when a machine belongs to nobody that the books know of."""

    orphans: dict[tuple[str, str], int] = field(default_factory=dict)

    def check(self, world: World, seen: Seen) -> list[Broken]:
        books = _books(seen)
        now_ns = world.clock.now_ns()
        broken: list[Broken] = []
        for sky in world.skies:
            ours = sky.ours()
            broken += _foreign(sky)
            broken += _tagged(sky, ours, books)
            broken += _one_each(sky, ours, books)
            broken += self._known(sky, ours, books, now_ns)
            broken += _ended(sky, ours, books)
        return broken

    def _known(self, sky: Sky, ours: list[Machine], books: Books, now_ns: int) -> Iterator[Broken]:
        """Every machine belongs to an intent, or two sweeps later to the list of the unknown."""
        young_ns = YOUNG_NS + round(sky.world.rules.listing_lag_seconds * NS)
        orphans = {}
        for machine in ours:
            key = (sky.name, machine.machine_id)
            if _owned(machine, books) or books.unknown.get(key) in HANDED_OVER:
                continue
            since = self.orphans.get(key, now_ns)
            orphans[key] = since
            looks = sum(1 for at in books.sweeps.get(sky.name, ()) if at > since + young_ns)
            if looks >= SWEEPS:
                yield Broken("a machine of ours is known", f"{key} {machine.tag}: {looks} sweeps")
        self.orphans = {k: v for k, v in self.orphans.items() if k[0] != sky.name} | orphans


def _books(seen: Seen) -> Books:
    sweeps: dict[str, list[int]] = {}
    for row in seen["sweeps"]:
        sweeps.setdefault(row["cloud"], []).append(row["began_ns"])
    return Books(
        {row["intent_id"]: row for row in seen["intents"]},
        {(row["cloud"], row["machine_id"]): row["state"] for row in seen["unknown"]},
        sweeps,
    )


def _owned(machine: Machine, books: Books) -> bool:
    """Its intent has it, or is about to find it."""
    row = _intent_of(machine, books)
    if row is None or row["state"] in ENDED:
        return False
    if row["machine_id"] is not None:
        return bool(row["machine_id"] == machine.machine_id)
    return bool(row["tag"] == machine.tag)


def _intent_of(machine: Machine, books: Books) -> Any | None:
    tag = read_tag(INSTALLATION, machine.tag)
    return None if tag is None else books.intents.get(str(tag.intent_id))


def _foreign(sky: Sky) -> Iterator[Broken]:
    """Nobody else's machine was ever touched."""
    for machine in sky.foreign.values():
        if machine.state in (State.TERMINATING, State.GONE, State.STOPPED):
            yield Broken("others' machines are not touched", f"{sky.name} {machine.machine_id}")


def _tagged(sky: Sky, ours: list[Machine], books: Books) -> Iterator[Broken]:
    """What our calls made bears our tag, and its wish was written down before the call."""
    cloud = sky.name
    for machine in ours:
        if machine.machine_id in sky.strays:
            continue
        tag = read_tag(INSTALLATION, machine.tag)
        if tag is None:
            said = f"{cloud} {machine.machine_id} {machine.tag!r} {tag_prefix(INSTALLATION)}"
            yield Broken("every machine bears our tag", said)
            continue
        row = books.intents.get(str(tag.intent_id))
        if row is None or row["attempt"] < tag.attempt:
            yield Broken("the intent comes first", f"{cloud} {machine.machine_id} {machine.tag}")


def _one_each(sky: Sky, ours: list[Machine], books: Books) -> Iterator[Broken]:
    """One machine at most for an intent; what else there is was handed to the sweeper."""
    alive: dict[str, list[Machine]] = {}
    for machine in ours:
        tag = read_tag(INSTALLATION, machine.tag)
        handed = books.unknown.get((sky.name, machine.machine_id)) in HANDED_OVER
        if tag is not None and machine.state is not State.TERMINATING and not handed:
            alive.setdefault(str(tag.intent_id), []).append(machine)
    for intent_id, machines in alive.items():
        if len(machines) > 1:
            said = f"{intent_id}: {[(m.machine_id, m.tag[-6:], m.state) for m in machines]}"
            yield Broken("one machine for an intent", said)


def _ended(sky: Sky, ours: list[Machine], books: Books) -> Iterator[Broken]:
    """An intent is over only when its machine is."""
    for machine in ours:
        row = _intent_of(machine, books)
        if row is None or row["state"] not in ENDED:
            continue
        handed = books.unknown.get((sky.name, machine.machine_id)) in HANDED_OVER
        if row["machine_id"] == machine.machine_id and not handed:
            said = f"{sky.name} {machine.machine_id} is {machine.state}, {row['intent_id']}"
            yield Broken("terminated means gone", f"{said} is {row['state']}")
