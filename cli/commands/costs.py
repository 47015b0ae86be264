"""costs: what the account was charged, by day and by what was used; for administrators what work
cost us beside it, and what clouds billed."""

from __future__ import annotations

import csv
import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect
from cli.commands.credits import moment
from cli.faults import CliError
from cli.output import cell, console, dollars, show_json, table, waiting

By = Annotated[
    str,
    typer.Option(
        help="day, deployment, pod, volume, model, kind or key; with --platform also provider"
        " or account."
    ),
]
LINES_AT_ONCE = 1000
COLUMNS = ("machine_id", "from", "until", "amount_usd")


def costs(
    by: By = "day",
    since: Annotated[str | None, typer.Option(help="From here, such as 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to here, not included.")] = None,
    platform: Annotated[
        bool, typer.Option("--platform", help="What work cost us, and what it brought (admins).")
    ] = False,
    to: Annotated[Path | None, typer.Option("--csv", help="Write a CSV file instead.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What was charged in the last 30 days, or in another time, by day or by what was used."""
    place = "/api/v1/admin/costs" if platform else "/api/v1/billing/costs"
    asked = {"by": by, "since": moment(since), "until": moment(until)}
    with connect(brain_url, user=platform) as brain:
        if to is not None:
            with waiting(f"writing {to}"):
                written = brain.save(f"{place}.csv", to, **asked)
            _saved(to, written, json)
            return
        found = brain.get(place, **asked)
    if json:
        show_json(found)
    elif platform:
        _show_costs(found)
    else:
        _show_charges(found)


def _saved(to: Path, written: int, json: bool) -> None:
    if json:
        show_json({"file": str(to), "bytes": written})
    else:
        console.print(f"{cell(to)}: {written:,} bytes.")


def _show_charges(found: dict[str, Any]) -> None:
    keyed = found["by"] == "key"
    table(
        "",
        [found["by"], "id", ">charged", *([">requests", ">GPU-s"] if keyed else [])],
        [
            [
                f"[bold]{cell(line['title'])}[/]",
                _id(line),
                dollars(line["usd"]),
                *([str(line["requests"]), line["gpu_seconds"]] if keyed else []),
            ]
            for line in found["lines"]
        ],
        empty="Nothing was charged in that time.",
    )
    console.print(f"In all: {dollars(found['usd'])}")


def _show_costs(found: dict[str, Any]) -> None:
    known = found["charged_nano"] is not None
    table(
        "",
        [found["by"], "id", ">cost", *([">charged", ">left"] if known else []), ">used"],
        [
            [
                f"[bold]{cell(line['title'])}[/]",
                _id(line),
                dollars(line["cost_usd"]),
                *([dollars(line["charged_usd"]), _left(line)] if known else []),
                _used(line["units"]),
            ]
            for line in found["lines"]
        ],
        empty="Nothing is recorded of that time.",
    )
    charged = f", charged {dollars(found['charged_usd'])}" if known else ""
    console.print(f"In all: cost {dollars(found['cost_usd'])}{charged}")


def _id(line: dict[str, Any]) -> str:
    return "" if line["title"] == line["name"] else cell(line["name"])


def _left(line: dict[str, Any]) -> str:
    from kernel.money import Money

    left = line["margin_nano"]
    return f"[red]{Money(left)}[/]" if left < 0 else str(Money(left))


def _used(units: dict[str, int]) -> str:
    """In units that people read."""
    words = {"gpu_ms": (3_600_000, "GPU-h"), "gib_s": (3600, "GiB-h")}
    told = []
    for unit, count in sorted(units.items()):
        per, name = words.get(unit, (1, unit))
        told.append(f"{count / per:,.3f} {name}" if per > 1 else f"{count:,} {name}")
    return ", ".join(told)


bills = typer.Typer(no_args_is_help=True, help="What clouds billed, beside what we recorded.")


@bills.command("list")
def list_bills(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Every statement, its difference to our record, and whether that is within half a percent."""
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/admin/cloud-bills")
    if json:
        show_json(found)
        return
    table(
        "",
        ["cloud", "statement", "from", "until", ">billed", ">recorded", ">difference", "agrees"],
        [
            [
                cell(s["cloud"]),
                cell(s["statement"]),
                s["from_at"][:10],
                s["until_at"][:10],
                dollars(s["billed_usd"]),
                dollars(s["recorded_usd"]),
                dollars(s["difference_usd"]),
                "[green]yes[/]" if s["agrees"] else f"[red]no[/]{_unknown(s)}",
            ]
            for s in found
        ],
        empty="No bill was taken in. ganglion clouds bills import FILE --cloud NAME",
    )


def _unknown(statement: dict[str, Any]) -> str:
    count = statement["unknown_machines"]
    return f" ({count} lines of machines that were never ours)" if count else ""


@bills.command("import")
def import_bill(
    file: Annotated[
        Path,
        typer.Argument(help=f"CSV with {', '.join(COLUMNS)} (and line), or JSON of such rows."),
    ],
    cloud: Annotated[str, typer.Option(help="Whose bill, such as runpod.")],
    statement: Annotated[
        str | None, typer.Option(help="The vendor's number of it; else the file's name.")
    ] = None,
    only_ours: Annotated[
        bool, typer.Option("--only-ours", help="Leave out machines that were never ours.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the whole statement anew.")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Take in a cloud's bill. Doing it twice adds nothing."""
    lines = [_line(row) for row in _rows(file)]
    if not lines:
        raise CliError(f"{file} has no lines.")
    told = {"added": 0, "known": 0, "left_out": 0}
    with connect(brain_url, user=True) as brain:
        for at in range(0, len(lines), LINES_AT_ONCE):
            body = {
                "statement": statement or file.stem,
                "lines": lines[at : at + LINES_AT_ONCE],
                "only_ours": only_ours,
                "replace": replace and at == 0,
            }
            done = brain.post(f"/api/v1/admin/cloud-bills/{cloud}", body)
            told = {name: told[name] + done[name] for name in told}
    if json:
        show_json(told)
    else:
        console.print(
            f"{told['added']:,} lines added, {told['known']:,} were there,"
            f" {told['left_out']:,} left out."
        )


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".json":
            found = json_text.loads(text)
            return list(found["lines"] if isinstance(found, dict) else found)
        return list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CliError(f"{file} cannot be read as a bill: {problem}.") from None


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the file as the API takes it; a day is from its midnight, UTC."""
    missing = [name for name in COLUMNS[1:] if not row.get(name)]
    if missing:
        raise CliError(
            f"A line lacks {', '.join(missing)}.", f"Each has {', '.join(COLUMNS)}; line is free."
        )
    return {
        "machine_id": str(row.get("machine_id") or ""),
        "from_at": moment(str(row["from"])),
        "until_at": moment(str(row["until"])),
        "amount_usd": str(row["amount_usd"]).strip().removeprefix("$"),
        "line": str(row.get("line") or ""),
    }
