"""What stands on an invoice: lines of use, cents that sum to the total, tax. Pure.

The ledger is exact in nano-dollars; an invoice is in cents. The total is the exact sum, rounded
once (half up); the cents are dealt to the lines by largest remainder, so they sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from kernel.errors import BadInput

CENT_NANO = 10_000_000
BASIS = 10_000
HOUR_NS = 3_600_000_000_000


class Paper(StrEnum):
    """Kinds of documents; each has numbers of its own."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    RECEIPT = "receipt"


SERIES = {Paper.INVOICE: "INV", Paper.CREDIT_NOTE: "CN", Paper.RECEIPT: "RCT"}


class LineKind(StrEnum):
    DEPLOYMENT = "deployment"
    POD = "pod"
    SHARED = "shared"
    STORAGE = "storage"
    CREDITED = "credited"  # what went back: time that a node did not sign for, late ends
    TOP_UP = "top_up"
    CORRECTION = "correction"


@dataclass(frozen=True)
class Line:
    """One line. ``cents`` 0 until they are dealt."""

    kind: LineKind
    subject: str
    title: str
    quantity: str
    from_ns: int | None
    until_ns: int | None
    nano: int
    cents: int = 0


@dataclass(frozen=True)
class Totals:
    net_cents: int
    tax_cents: int

    @property
    def gross_cents(self) -> int:
        return self.net_cents + self.tax_cents


def cents(nano: int) -> int:
    """Nearest cents, half up (towards more)."""
    return (nano + CENT_NANO // 2) // CENT_NANO


def deal(amounts: Sequence[int]) -> list[int]:
    """Cents for each amount of nano-dollars, summing to the rounded sum: each gets its floor, and
    the cents that are left go to the largest remainders, the earlier line at a tie."""
    floors = [nano // CENT_NANO for nano in amounts]
    left = cents(sum(amounts)) - sum(floors)
    assert 0 <= left <= len(amounts), "floors are short of the sum by less than a cent a line"
    by_rest = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] % CENT_NANO), i))
    for place in by_rest[:left]:
        floors[place] += 1
    return floors


def dealt(lines: Sequence[Line]) -> list[Line]:
    """The lines with their cents."""
    parts = deal([line.nano for line in lines])
    return [
        Line(
            line.kind,
            line.subject,
            line.title,
            line.quantity,
            line.from_ns,
            line.until_ns,
            line.nano,
            part,
        )
        for line, part in zip(lines, parts, strict=True)
    ]


def tax_of(net_cents: int, basis_points: int) -> int:
    """Of the whole net amount, rounded once, half away from zero: a credit note of the whole
    gives back what the invoice took."""
    sign = -1 if net_cents < 0 else 1
    return sign * ((abs(net_cents) * basis_points + BASIS // 2) // BASIS)


def totals(lines: Sequence[Line], basis_points: int) -> Totals:
    net = sum(line.cents for line in lines)
    return Totals(net, tax_of(net, basis_points))


@dataclass(frozen=True)
class Use:
    """What was used of one subject, as the ledger's room sums it up."""

    kind: LineKind
    subject: str
    nano: int
    gpu_ns: int = 0
    gib_ns: int = 0
    from_ns: int | None = None
    until_ns: int | None = None


WORDS = {
    LineKind.DEPLOYMENT: "Deployment",
    LineKind.POD: "Pod",
    LineKind.SHARED: "Shared use of",
    LineKind.STORAGE: "Volume",
    LineKind.CREDITED: "Credited back",
}
ORDER = list(LineKind)


def lines_of(uses: Sequence[Use], names: Mapping[str, str]) -> list[Line]:
    """A line for each kind and subject, by kind and name, with cents dealt. A line of nothing is
    left out."""
    sums: dict[tuple[LineKind, str], Use] = {}
    for use in uses:
        key = (use.kind, use.subject)
        sums[key] = _added(sums[key], use) if key in sums else use
    kept = [use for use in sums.values() if use.nano or use.gpu_ns or use.gib_ns]
    made = [_line(use, names.get(use.subject, use.subject)) for use in kept]
    made.sort(key=lambda line: (ORDER.index(line.kind), line.title, line.subject))
    return dealt(made)


def _added(one: Use, other: Use) -> Use:
    starts = [n for n in (one.from_ns, other.from_ns) if n is not None]
    ends = [n for n in (one.until_ns, other.until_ns) if n is not None]
    return Use(
        one.kind,
        one.subject,
        one.nano + other.nano,
        one.gpu_ns + other.gpu_ns,
        one.gib_ns + other.gib_ns,
        min(starts, default=None),
        max(ends, default=None),
    )


def _line(use: Use, name: str) -> Line:
    title = f"{WORDS[use.kind]} {name}".rstrip()
    quantity = ""
    if use.kind is not LineKind.CREDITED:
        is_storage = use.kind is LineKind.STORAGE
        quantity = f"{hours(use.gib_ns)} GiB-h" if is_storage else f"{hours(use.gpu_ns)} GPU-h"
    return Line(use.kind, use.subject, title, quantity, use.from_ns, use.until_ns, use.nano)


def hours(unit_ns: int) -> str:
    """Hours with six decimals, rounded down."""
    millionths = unit_ns * 1_000_000 // HOUR_NS
    return f"{millionths // 1_000_000:,}.{millionths % 1_000_000:06d}"


def usd(cent: int) -> str:
    sign = "-" if cent < 0 else ""
    return f"{sign}${abs(cent) // 100:,}.{abs(cent) % 100:02d}"


def number(series: str, year: int, place: int) -> str:
    """Such as INV-2026-000001; each series begins anew with a year."""
    return f"{series}-{year}-{place:06d}"


def month_of(day: date) -> tuple[datetime, datetime]:
    """The UTC month of this day: its first moment, and that of the next."""
    first = datetime(day.year, day.month, 1, tzinfo=UTC)
    later = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    return first, later


def month_before(now: datetime) -> tuple[datetime, datetime]:
    """The last whole UTC month."""
    first, _ = month_of(now.date())
    year, month = (first.year, first.month - 1) if first.month > 1 else (first.year - 1, 12)
    return datetime(year, month, 1, tzinfo=UTC), first


def credit_cents(asked: int | None, *, net_cents: int, credited_cents: int) -> int:
    """What of an invoice's net a credit note may take back: all that is left, or so much of it."""
    left = net_cents - credited_cents
    if left <= 0:
        raise BadInput("Nothing of this invoice is left to credit.", param="net_cents")
    if asked is None:
        return left
    if not 0 < asked <= left:
        raise BadInput(f"At most {usd(left)} of this invoice is left to credit.", param="net_cents")
    return asked
