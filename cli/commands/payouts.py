"""payouts: where a provider is paid, asking for a payout, statements; administrators' part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.output import cell, console, facts, show_json, state, table, when

app = typer.Typer(help="For providers: be paid what your nodes earned.", no_args_is_help=True)
DESTINATION = "/api/v1/provider/payout-destination"
PAYOUTS = "/api/v1/provider/payouts"


@app.command("destination")
def destination(
    stripe: Annotated[bool, typer.Option("--stripe", help="To a bank, by Stripe.")] = False,
    momo: Annotated[
        str, typer.Option(help="To this mobile wallet: its number with the country code.")
    ] = "",
    currency: Annotated[str, typer.Option(help="What the wallet is paid in.")] = "",
    automatic: Annotated[
        bool, typer.Option("--automatic/--asked", help="Each period by itself, or when you ask.")
    ] = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Show where you are paid; with --stripe or --momo say it."""
    if stripe and momo:
        raise typer.BadParameter("Choose --stripe or --momo.")
    with connect(brain_url, user=stripe or bool(momo)) as brain:
        if stripe or momo:
            body: dict[str, Any] = {"method": "momo" if momo else "stripe", "automatic": automatic}
            body |= {"number": momo} if momo else {}
            body |= {"currency": currency} if currency else {}
            found = brain.put(DESTINATION, body)
        else:
            found = brain.get(DESTINATION)
    if json:
        show_json(found)
        return
    facts(
        {
            "paid by": found["method"],
            "to": cell(found["address"]),
            "in": found["currency"],
            "by itself": found["automatic"],
            "ready": found["ready"],
            "left to do": cell(found["said"]),
        }
    )
    if found["url"]:
        console.print(f"Complete it at: {cell(found['url'])}", soft_wrap=True)


@app.command("request")
def request(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Ask for all that is payable; once a period."""
    with connect(brain_url, user=True) as brain:
        made = brain.post(PAYOUTS)
    if json:
        show_json(made)
        return
    console.print(
        f"{made['payout_id']}: {made['sent']} {made['currency']} ({made['amount_usd']})"
        " is on its way. `ganglion payouts list` shows how it goes."
    )


@app.command("list")
def list_payouts(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """Your payouts, the newest first."""
    with connect(brain_url) as brain:
        found = listed(brain, PAYOUTS, limit)
    if json:
        show_json(found)
        return
    _table(found, "There is no payout yet; `ganglion provider earnings` shows what is payable.")


@app.command("statement")
def statement(
    period: Annotated[str, typer.Argument(help="2026-11, 2026-W47 or 2026-11-22 (UTC).")],
    csv: Annotated[Path | None, typer.Option(help="Write it to this file as CSV.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What stood on your earnings, a line for each node, what left."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/provider/statements/{period}")
        if csv is not None:
            brain.save(f"/api/v1/provider/statements/{period}", csv, format="csv")
            console.print(f"Written to {cell(csv)}.")
            return
    if json:
        show_json(found)
        return
    rows = [["opening", "", "", "", found["opening_usd"]]]
    for one in found["lines"]:
        who = [cell(one["what"]), cell(one["id"]), cell(one["name"])]
        rows.append([*who, str(one["bookings"]), one["amount_usd"]])
    rows.append(["closing", "", "", "", found["closing_usd"]])
    table(f"Earnings of {period}", ["what", "id", "name", ">bookings", ">USD"], rows, empty="")


def _table(found: list[Any], empty: str) -> None:
    rows = [
        [
            one["payout_id"],
            one["period"],
            state(one["state"]),
            f"{one['sent']} {one['currency']}",
            one["amount_usd"],
            f"{one['method']} {cell(one['address'])}",
            when(one["created_at"]),
            cell(one["reason"]),
        ]
        for one in found
    ]
    columns = ["payout", "period", "state", ">sent", ">off earnings", "to", "asked", "why"]
    table("", columns, rows, empty=empty)


admin = typer.Typer(help="Payouts of all providers.", no_args_is_help=True)


@admin.command("list")
def list_all(
    only: Annotated[str, typer.Option("--state", help="Such as unknown: wait for you.")] = "",
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """Everybody's payouts, the newest first."""
    with connect(brain_url, user=True) as brain:
        found = listed(brain, "/api/v1/admin/payouts", limit, state=only or None)
    if json:
        show_json(found)
        return
    _table(found, "There is none.")


@admin.command("resolve")
def resolve(
    payout: Annotated[str, typer.Argument(help="The payout's id; it is unknown.")],
    outcome: Annotated[str, typer.Argument(help="paid or failed, as the processor told you.")],
    reason: Annotated[str, typer.Option(help="How you know; it is kept for ever.")],
    reference: Annotated[str, typer.Option(help="The processor's reference, where paid.")] = "",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Settle a payout of which its processor does not tell, after you asked there."""
    body: dict[str, Any] = {"outcome": outcome, "reason": reason}
    body |= {"reference": reference} if reference else {}
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"/api/v1/admin/payouts/{payout}/resolve", body)
    if json:
        show_json(found)
        return
    _table([found], "")


@admin.command("rate")
def rate(
    currency: Annotated[str, typer.Argument(help="ISO 4217, such as UGX.")],
    usd: Annotated[str, typer.Argument(help="What a unit is worth in dollars: 0.00027.")],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """From now on a unit of a currency is worth so much; what was before stays as it was."""
    with connect(brain_url, user=True) as brain:
        body = {"currency": currency, "usd_per_unit": usd}
        found = brain.post("/api/v1/admin/currency-rates", body)
    if json:
        show_json(found)
        return
    facts({"currency": found["currency"], "version": found["version"]})
