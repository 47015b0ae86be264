"""A provider's statement of a period: what stood on its earnings, each node's lines, what left."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brain import billing, fleet
from brain.billing import ProviderLine
from brain.payouts import core
from brain.plumbing import Tx
from kernel.ids import AccountId, LeaseId, NodeId
from kernel.money import Money

LEASES = {"lease_time": "earned", "lease_credit": "taken back"}
PAYOUTS = frozenset({"payout_asked", "payout_returned"})
CHUNK = 5000
# A cell that begins like this is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class StatementLine:
    """``what``: earned, taken back, volumes, payout or other. ``subject``: the node or payout."""

    what: str
    subject: str
    name: str
    bookings: int
    nano: int


@dataclass(frozen=True)
class Statement:
    """``closing`` is ``opening`` and all lines, and is what the ledger has, to the nano-dollar."""

    period: core.Span
    opening: Money
    lines: Sequence[StatementLine]
    closing: Money


async def statement(tx: Tx, provider: AccountId, period: core.Span) -> Statement:
    """Of the bookings of this time; of a period that is not over, those until now."""
    opening = await billing.unpaid_at(tx, provider, period.since)
    found = await billing.provider_lines(tx, provider, period.since, period.until)
    leases = [LeaseId(one.subject) for one in found if one.kind in LEASES]
    placed: dict[LeaseId, NodeId] = {}
    for start in range(0, len(leases), CHUNK):
        placed |= await fleet.nodes_of_leases(tx, leases[start : start + CHUNK])
    names = {node.node_id: node.name for node in await fleet.nodes_of_account(tx, provider)}
    lines = gather(found, placed, names)
    return Statement(period, opening, lines, opening + Money(sum(line.nano for line in lines)))


def gather(
    found: Sequence[ProviderLine], placed: Mapping[LeaseId, NodeId], names: Mapping[NodeId, str]
) -> list[StatementLine]:
    """A line for each node, for the volumes, for each payout."""
    sums: dict[tuple[str, str], StatementLine] = {}
    for one in found:
        if one.kind in LEASES:
            node = placed.get(LeaseId(one.subject))
            what, subject = LEASES[one.kind], node or ""
            name = "" if node is None else names.get(node, "")
        elif one.kind == "storage_time":
            what, subject, name = "volumes", "", "volumes"
        elif one.kind in PAYOUTS:
            what, subject, name = "payout", one.subject, ""
        else:
            what, subject, name = "other", one.kind, ""
        before = sums.get((what, subject))
        sums[what, subject] = StatementLine(
            what=what,
            subject=subject,
            name=name,
            bookings=one.count + (before.bookings if before else 0),
            nano=one.nano + (before.nano if before else 0),
        )
    return [sums[key] for key in sorted(sums)]


def as_csv(found: Statement) -> str:
    """For spreadsheets: opening, each line, closing; amounts in dollars, exact."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(["what", "id", "name", "bookings", "amount_usd"])
    rows.writerow(["opening", "", f"{found.period.since:%Y-%m-%d}", "", plain(found.opening)])
    for line in found.lines:
        name = "'" + line.name if line.name.startswith(_FORMULA) else line.name
        rows.writerow([line.what, line.subject, name, line.bookings, plain(Money(line.nano))])
    rows.writerow(["closing", "", f"{found.period.until:%Y-%m-%d}", "", plain(found.closing)])
    return out.getvalue()


def plain(money: Money) -> str:
    """Dollars for machines: no sign of the currency, no commas."""
    return str(money).replace("$", "").replace(",", "")
