"""prices: what services cost in credits; for administrators, which are sold below cost."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.common import BrainUrl, Json, connect
from cli.output import cell, console, dollars, show_json, table

MARGINS = {"covered": "green", "sometimes below cost": "yellow", "below cost": "red"}


def prices(
    service: Annotated[str | None, typer.Argument(help="One service, with --units.")] = None,
    units: Annotated[int | None, typer.Option(min=0, help="What so many units cost.")] = None,
    margins: Annotated[
        bool, typer.Option("--margins", help="Against what vendors take (administrators).")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """The price list of services in credits, or a quote for one."""
    with connect(brain_url, user=margins) as brain:
        if margins:
            found = brain.get("/api/v1/admin/prices/margins")
        elif service is not None and units is not None:
            found = brain.get("/api/v1/prices/quote", name=service, units=units)
        elif service is not None:
            found = brain.get("/api/v1/prices/versions", name=service)
        else:
            found = brain.get("/api/v1/prices")
    if json:
        show_json(found)
    elif margins:
        _show_margins(found)
    elif isinstance(found, dict) and "usd" in found:
        credits = f"{found['milli_credits'] / 1000:,.3f}".rstrip("0").rstrip(".")
        console.print(f"{cell(found['version'])}: {credits} credits, {dollars(found['usd'])}")
    else:
        _show_prices(found if isinstance(found, list) else found["prices"])
        if isinstance(found, dict):
            console.print(f"\nA credit is {dollars(found['credit_price_usd'])}.")


def _show_prices(found: list[dict[str, object]]) -> None:
    table(
        "",
        ["service", "provider", "model", ">credits", "for", "since"],
        [
            [
                f"[bold]{cell(p['service'])}[/]",
                cell(p["provider"]),
                cell(p["model"]),
                cell(p["credits"]),
                f"{p['per']:,} {p['unit']}{'s' if p['per'] != 1 else ''}",
                cell(str(p["starts_at"])[:10]),
            ]
            for p in found
        ],
        empty="There is no such service.",
    )


def _show_margins(found: list[dict[str, object]]) -> None:
    for one in found:
        colour = MARGINS[str(one["margin"])]
        console.print(f"[{colour}]●[/] {cell(one['sentence'])}", soft_wrap=True)
