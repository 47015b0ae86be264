"""Costs and charges by day, subject, model and so on, beside each other: pure of SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from brain.billing import UseKind
from brain.costs.charged import Charged
from brain.costs.spent import Spent


class By(StrEnum):
    """What the lines of a table are."""

    DAY = "day"
    DEPLOYMENT = "deployment"
    POD = "pod"
    VOLUME = "volume"
    MODEL = "model"
    KEY = "key"
    KIND = "kind"
    PROVIDER = "provider"
    ACCOUNT = "account"  # by its keyed hash


SUBJECTS = {By.DEPLOYMENT: "dep_", By.POD: "pod_", By.VOLUME: "vol_"}
CHARGED_BY = frozenset({By.DAY, By.MODEL, By.KIND, *SUBJECTS})
KINDS = {UseKind.STORAGE_TIME: "storage"}
OTHER = ""  # what no line of this kind fits


@dataclass
class Line:
    """``charged_nano`` None: charges are not known by this."""

    name: str
    cost_nano: int = 0
    charged_nano: int | None = None
    units: dict[str, int] = field(default_factory=dict)


def charged_lines(charges: Iterable[Charged], by: By) -> dict[str, int]:
    """Nano-dollars by the line's name."""
    found: defaultdict[str, int] = defaultdict(int)
    for one in charges:
        found[_charged_name(one, by)] += one.nano
    return dict(found)


def _charged_name(one: Charged, by: By) -> str:
    if by is By.DAY:
        return one.day.isoformat()
    if by is By.MODEL:
        return one.model
    if by is By.KIND:
        return KINDS.get(one.kind, "gpu")
    return one.subject if one.subject.startswith(SUBJECTS[by]) else OTHER


def lines(spent: Iterable[Spent], charges: Iterable[Charged], by: By) -> list[Line]:
    """What was spent and charged, the dearest first; days in their order."""
    found: dict[str, Line] = {}
    for one in spent:
        line = found.setdefault(_spent_name(one.name, by), Line(_spent_name(one.name, by)))
        line.cost_nano += one.nano
        line.units[one.unit] = line.units.get(one.unit, 0) + one.units
    if by in CHARGED_BY:
        told = charged_lines(charges, by)
        for name in told:
            found.setdefault(name, Line(name))
        for line in found.values():
            line.charged_nano = told.get(line.name, 0)
    return ordered(found, by)


def ordered(found: Mapping[str, Line], by: By) -> list[Line]:
    if by is By.DAY:
        return [found[name] for name in sorted(found)]
    return sorted(
        found.values(), key=lambda line: (-max(line.cost_nano, line.charged_nano or 0), line.name)
    )


def _spent_name(name: str, by: By) -> str:
    """Of another kind than is asked for: the rest, in one line."""
    prefix = SUBJECTS.get(by)
    return name if prefix is None or name.startswith(prefix) else OTHER
