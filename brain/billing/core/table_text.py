"""A statement as CSV that no spreadsheet runs: RFC 4180, and no cell begins a formula. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO

# A cell that begins so is a formula to spreadsheets, after blanks too.
_FORMULA = re.compile(r"^[\s'\"]*[=+\-@\t\r\n|%＝＋－＠]")
_NUMBER = re.compile(r"^-?[0-9]+(\.[0-9]+)?$")


def safe(cell: str) -> str:
    """The text as it is, an apostrophe before what a spreadsheet would run. Numbers stay."""
    if _NUMBER.match(cell) or not _FORMULA.match(cell):
        return cell
    return "'" + cell


def lines(rows: Iterable[Sequence[str]]) -> str:
    """Whole lines, each ended by CR LF."""
    out = StringIO()
    csv.writer(out).writerows([safe(cell) for cell in row] for row in rows)
    return out.getvalue()


def decimal_dollars(nano: int) -> str:
    """Exact, with nine decimals, for machines."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"
