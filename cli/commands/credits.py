"""credits: what there is, packages, the statement with filters, and the statement as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.output import cell, console, dollars, facts, show_json, table, waiting, when

app = typer.Typer(
    no_args_is_help=True, help="Credits: what is left, what is sold, every booking, CSV."
)

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only these, such as purchase or lease_time; repeatable."),
]
Since = Annotated[str | None, typer.Option(help="From here, such as 2026-11-01.")]
Until = Annotated[str | None, typer.Option(help="Up to here, not included.")]


@app.command("balance")
def show_balance(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Credits that are free, and what they are worth."""
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/billing/balance")
    if json:
        show_json(found)
        return
    facts(
        {
            "credits": f"[bold]{found['credits']:,}[/]",
            "worth": dollars(found["free_usd"]),
            "stopped": "[red]yes: add credit[/]" if found["stopped"] else "no",
        }
    )


@app.command("packages")
def packages(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Ranges of credits that are sold, and their prices."""
    with connect(brain_url) as brain:
        found = brain.get("/api/v1/credits/packages")
    if json:
        show_json(found)
        return
    table(
        "",
        ["package", ">from credits", ">to credits", ">from", ">to"],
        [
            [
                f"[bold]{cell(p['name'])}[/]",
                f"{p['credits_min']:,}",
                f"{p['credits_max']:,}",
                dollars(p["usd_min"]),
                dollars(p["usd_max"]),
            ]
            for p in found
        ],
        empty="Nothing is sold as a package now.",
    )


@app.command("list")
def list_bookings(
    kind: Kinds = None,
    since: Since = None,
    until: Until = None,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """Every booking of the account, newest first."""
    with connect(brain_url, user=True) as brain:
        found = listed(brain, "/api/v1/billing/transactions", limit, **_asked(kind, since, until))
    if json:
        show_json(found)
        return
    table(
        "",
        ["at", "kind", ">amount", "memo"],
        [[when(t["at"]), t["kind"], dollars(t["amount_usd"]), cell(t["memo"])] for t in found],
        empty="No bookings like that.",
    )


@app.command("export")
def export(
    to: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    kind: Kinds = None,
    since: Since = None,
    until: Until = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Write the statement as CSV. No cell of it is run by a spreadsheet."""
    with connect(brain_url, user=True) as brain, waiting(f"writing {to}"):
        written = brain.save("/api/v1/billing/transactions.csv", to, **_asked(kind, since, until))
    if json:
        show_json({"file": str(to), "bytes": written})
    else:
        console.print(f"{cell(to)}: {written:,} bytes.")


Dollars = Annotated[str | None, typer.Option(help="Dollars, such as 25 or 2.50; none: no limit.")]


@app.command("limits")
def limits(
    day: Dollars = None,
    month: Dollars = None,
    key: Annotated[str | None, typer.Option(help="Of this API key (key_…) alone.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """The most that the account, or one API key, may spend in a UTC day and month: show or set."""
    place = "/api/v1/billing/limits" + (f"/keys/{key}" if key else "")
    with connect(brain_url, user=True) as brain:
        found = brain.get(place)
        if day is not None or month is not None:
            now = {one["span"]: one["limit_nano"] for one in found}
            body = {
                "day_nano": _nano(day, now.get("day")),
                "month_nano": _nano(month, now.get("month")),
            }
            found = brain.put(place, body)
    if json:
        show_json(found)
        return
    table(
        "",
        ["a", ">limit", ">spent", ">left"],
        [
            [one["span"], *(_usd(n) for n in (one["limit_nano"], one["spent_nano"], _left(one)))]
            for one in found
        ],
        empty="No limits. Set one: ganglion credits limits --day 25",
    )


@app.command("alerts")
def alerts(
    below: Annotated[str | None, typer.Option(help="Dollars; 0: no warnings.")] = None,
    email: Annotated[str | None, typer.Option(help="Where to; empty: your own address.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Below which balance a warning is mailed, once a crossing: show or set."""
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/billing/alerts")
        if below is not None or email is not None:
            body = {
                "threshold_nano": _nano(below, found["threshold_nano"]),
                "email": found["email"] if email is None else email,
            }
            found = brain.put("/api/v1/billing/alerts", body)
    if json:
        show_json(found)
        return
    line = found["threshold_nano"]
    shown = "the installation's own line" if line is None else _usd(line) if line else "never"
    facts({"warned below": shown, "at": cell(found["email"] or "your own address")})


def _nano(text: str | None, now: int | None) -> int | None:
    """Dollars as nano-dollars; what is not said stays as it is."""
    from cli.faults import CliError
    from kernel.errors import BadInput
    from kernel.money import Money

    if text is None:
        return now
    if text == "none":
        return None
    try:
        nano = Money.usd(text).nano
    except BadInput as wrong:
        raise CliError(wrong.detail, "Write it as 25 or 2.50.") from None
    return nano


def _left(one: dict[str, Any]) -> int:
    left: int = one.get("left_nano", max(0, one["limit_nano"] - one["spent_nano"]))
    return left


def _usd(nano: int) -> str:
    from kernel.money import Money

    return str(Money(nano))


def _asked(kind: list[str] | None, since: str | None, until: str | None) -> dict[str, Any]:
    return {"kind": kind or None, "since": moment(since), "until": moment(until)}


def moment(text: str | None) -> str | None:
    """A day or a moment; UTC where no zone is named."""
    from datetime import UTC, datetime

    from cli.faults import CliError

    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(
            f"{text[:40]!r} is not a time.", "Write it as 2026-11-01 or 2026-11-01T12:00:00."
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
