"""admin price, admin credit-price: new dated prices, refused below cost unless that is meant."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect, given
from cli.commands.credits import moment
from cli.faults import CliError
from cli.output import cell, console, dollars, show_json

BelowCost = Annotated[
    bool, typer.Option("--below-cost", help="Yes, below what the vendor takes is meant.")
]
Starts = Annotated[
    str | None, typer.Option("--from", help="From when on, such as 2026-12-01; else now.")
]


def add_to(admin: typer.Typer) -> None:
    admin.command("price")(price)
    admin.command("credit-price")(credit_price)


def price(
    service: Annotated[str, typer.Argument(help="Such as gpt-4o.")],
    credits: Annotated[str, typer.Argument(help="How many for --per units, such as 120 or 0.8.")],
    per: Annotated[int | None, typer.Option(min=1, help="For so many units.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="token, character, second, minute or image.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Whose service it is.")] = None,
    model: Annotated[str | None, typer.Option(help="The vendor's name of it.")] = None,
    vendor_min: Annotated[
        str | None, typer.Option(help="What the vendor takes for --per units, at least: dollars.")
    ] = None,
    vendor_max: Annotated[str | None, typer.Option(help="And at most.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the vendor's price was read.")] = None,
    starts: Starts = None,
    below_cost: BelowCost = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Begin a new price of a service. What is left out stays as it is."""
    said = given(
        per=per,
        unit=unit,
        provider=provider,
        model=model,
        vendor_nano_min=_nano(vendor_min),
        vendor_nano_max=_nano(vendor_max),
        source=source,
        starts_at=moment(starts),
    )
    with connect(brain_url, user=True) as brain:
        body = {
            **_standing(brain, service),
            **said,
            "service": service,
            "milli_credits": _milli(credits),
            "below_cost": below_cost,
        }
        made = brain.post("/api/v1/admin/prices", body)
    if json:
        show_json(made)
    else:
        console.print(
            f"{cell(made['version'])}: {made['credits']} credits for"
            f" {made['per']:,} {made['unit']}{'s' if made['per'] != 1 else ''}."
        )


def credit_price(
    usd: Annotated[str, typer.Argument(help="Dollars of one credit, such as 0.0001.")],
    starts: Starts = None,
    below_cost: BelowCost = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Begin a new price of a credit. Balances are money, and do not change."""
    body = given(nano=_nano(usd), starts_at=moment(starts), below_cost=below_cost)
    with connect(brain_url, user=True) as brain:
        made = brain.post("/api/v1/admin/credit-price", body)
    if json:
        show_json(made)
    else:
        console.print(f"A credit is {dollars(made['usd'])} from {cell(made['starts_at'])} on.")


def _standing(brain: Any, service: str) -> dict[str, Any]:
    """What the service's price of now says, as a body; nothing for one that has none."""
    margins = brain.get("/api/v1/admin/prices/margins")
    now = next((one for one in margins if one["service"] == service), None)
    if now is None:
        return {}
    listed = brain.get("/api/v1/prices")["prices"]
    shown = next(one for one in listed if one["service"] == service)
    kept = {field: shown[field] for field in ("provider", "model", "unit", "per")}
    costs = {field: now[field] for field in ("vendor_nano_min", "vendor_nano_max", "source")}
    return kept | costs


def _milli(credits: str) -> int:
    try:
        milli = Decimal(credits) * 1000
        good = milli.is_finite() and milli >= 0 and milli == milli.to_integral_value()
    except InvalidOperation:
        good = False
    if not good:
        raise CliError(
            f"{credits[:40]!r} is no price in credits.", "Write it as 8 or 0.8: three decimals."
        )
    return int(milli)


def _nano(usd: str | None) -> int | None:
    from kernel.errors import BadInput
    from kernel.money import Money

    if usd is None:
        return None
    try:
        return Money.usd(usd).nano
    except BadInput as wrong:
        raise CliError(wrong.detail, "Write it as 25 or 0.0025.") from None
