"""How the commands speak: tables and colours for people, one JSON document for machines."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

STATE_COLOURS = {
    "ready": "green",
    "online": "green",
    "ok": "green",
    "running": "green",
    "kept": "green",
    "paid": "green",
    "pending": "yellow",
    "waiting": "yellow",
    "claimed": "yellow",
    "loading": "yellow",
    "starting": "yellow",
    "new": "yellow",
    "needs_payer": "yellow",
    "processing": "yellow",
    "draining": "cyan",
    "stopping": "cyan",
    "terminating": "cyan",
    "dropping": "cyan",
    "stopped": "dim",
    "terminated": "dim",
    "gone": "dim",
    "offline": "red",
    "failed": "red",
    "broken": "red",
    "lost": "red",
    "parked": "red",
    "revoked": "red",
}

# Not cut to 80 columns in a pipe or a file, where nobody counts columns.
WIDTH = None if sys.stdout.isatty() else 200
FOLDED_FROM = 24  # cells: what is shorter stays in one line
console = Console(highlight=False, width=WIDTH)
errors = Console(stderr=True, highlight=False)


def show_json(value: Any) -> None:
    """One document on standard output, nothing else."""
    sys.stdout.write(json_text.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_json_line(value: Any) -> None:
    """One of many that come over time: a line each, seen at once by whoever reads."""
    sys.stdout.write(json_text.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def waiting(words: str) -> AbstractContextManager[object]:
    """A spinner as long as it takes, on a terminal; nothing in a pipe or for machines."""
    if not console.is_terminal or "--json" in sys.argv:
        return nullcontext()
    return console.status(f"[dim]{escape(words)}[/]")


def state(text: object) -> str:
    """A state in its colour."""
    word = str(text)
    colour = STATE_COLOURS.get(word.lower())
    return f"[{colour}]{escape(word)}[/]" if colour else escape(word)


def cell(value: object) -> str:
    """Text as it is, an absent value as a dash; markup in what others wrote has no effect."""
    if value is None or value == "":
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    return escape(str(value))


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = ""
) -> None:
    """A table, or the sentence ``empty`` where there are no rows. Cells may be rich markup.

    Only sentences are folded, and no word is cut: it may be for copying. What is wider than the
    terminal goes on in the terminal's next line.
    """
    cells = [[item if isinstance(item, str) else cell(item) for item in row] for row in rows]
    if not cells and empty:
        console.print(f"[dim]{empty}[/]")
        return
    found = Table(title=title or None, title_justify="left", header_style="bold", box=None)
    whole = 0
    for place, column in enumerate(columns):
        number, name = column.startswith(">"), column.removeprefix(">")
        texts = [Text.from_markup(text).plain for text in (name, *(row[place] for row in cells))]
        least = max(_least_width(text) for text in texts)
        found.add_column(name, justify="right" if number else "left", min_width=least)
        whole += least + sum(found.padding[1::2])
    for row in cells:
        found.add_row(*row)
    if whole > console.width:
        found.width = whole
    console.print(found, crop=False)


def _least_width(text: str) -> int:
    """In cells of a terminal: the whole of a short text, else its longest word."""
    if cell_len(text) <= FOLDED_FROM:
        return cell_len(text)
    return max([FOLDED_FROM, *(cell_len(word) for word in text.split())])


def facts(pairs: Mapping[str, object]) -> None:
    """Names and values, one a line. Values may be rich markup."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        shown = value if isinstance(value, str) else cell(value)
        console.print(f"[dim]{name:<{width}}[/]  {shown}", soft_wrap=True)


def when(text: object) -> str:
    """A record's time: the hour alone for today, else the day too; local time."""
    if not text:
        return "-"
    try:
        at = datetime.fromisoformat(str(text)).astimezone()
    except ValueError:
        return escape(str(text))
    now = datetime.now(UTC).astimezone()
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d %H:%M")


def dollars(value: object) -> str:
    """``"0.790000000"`` or ``"-0.1"`` as dollars with no idle zeros; anything else as it is."""
    text = str(value)
    if value is None or text == "":
        return "-"
    whole, point, decimals = text.partition(".")
    if point:
        text = f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    return text if "$" in text else f"-${text[1:]}" if text.startswith("-") else f"${text}"


def seconds(ns: int | float) -> str:
    """A duration given in nanoseconds, in seconds with three decimals."""
    return f"{ns / 1e9:.3f} s"
