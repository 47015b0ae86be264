"""offers: all that is for rent now, nodes and clouds in one list."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.output import cell, dollars, show_json, table


def offers(
    gpu: Annotated[str | None, typer.Option(help="A part of the GPU's name.")] = None,
    cloud: Annotated[str | None, typer.Option(help='A cloud, or "nodes" for our own.')] = None,
    region: Annotated[str | None, typer.Option(help="Only in this region.")] = None,
    min_vram: Annotated[int | None, typer.Option(help="GiB of memory of each GPU.")] = None,
    max_price: Annotated[float | None, typer.Option(help="Dollars per GPU-hour.")] = None,
    count: Annotated[int | None, typer.Option(help="Free GPUs, at least.")] = None,
    spot: Annotated[
        bool | None, typer.Option("--spot/--on-demand", help="Only spot, or none.")
    ] = None,
    secure: Annotated[
        bool | None, typer.Option("--secure/--community", help="In data centres, or with others.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also what may not be taken now.")] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Administrators: how each cloud is read, what rests.")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """GPUs for rent on nodes and clouds, the cheapest first."""
    if sources:
        _show_sources(brain_url, json)
        return
    asked: dict[str, Any] = {
        "gpu": gpu,
        "cloud": cloud,
        "region": region,
        "min_vram_gib": min_vram,
        "max_price": max_price,
        "count": count,
        "spot": _word(spot),
        "secure": _word(secure),
        "available": None if all_ else "true",
    }
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/offers", limit, **asked)
    if json:
        show_json(found)
        return
    columns = ["place", "GPU", ">free", ">GiB", ">a GPU-hour", "kind", ">start", ">failing", "age"]
    table(
        "",
        columns + (["withheld"] if all_ else []),
        [_row(offer, all_) for offer in found],
        empty="Nothing is for rent like that.",
    )


def _row(offer: dict[str, Any], whole: bool) -> list[object]:
    free = f"{offer['gpus_free']}/{offer['gpus_total']}"
    if offer["node_id"] is None:
        machines = offer["machines"]
        free = f"{offer['gpus_total']}" + ("" if machines is None else f" (x {machines})")
    age = offer["age_seconds"]
    row: list[object] = [
        f"[bold]{cell(offer['name'] or offer['offer'])}[/]",
        cell(offer["gpu_name"]) + (" [yellow](simulated)[/]" if offer["simulated"] else ""),
        free,
        f"{offer['vram_mib'] / 1024:.0f}",
        dollars(offer["price_usd_per_gpu_hour"]),
        ", ".join(_kinds(offer)),
        f"{offer['start_seconds']} s",
        f"{offer['failure_percent']:.1f} %",
        "-" if age is None else f"{age:.0f} s ago",
    ]
    if whole:
        again = offer["again_in_seconds"]
        row.append(cell(offer["withheld"]) + (f" Again in {again} s." if again else ""))
    return row


def _kinds(offer: dict[str, Any]) -> list[str]:
    where = "node" if offer["node_id"] else ("secure" if offer["secure"] else "community")
    return [where, *(["[yellow]spot[/]"] if offer["spot"] else [])]


def _word(asked: bool | None) -> str | None:
    return None if asked is None else str(asked).lower()


def _show_sources(brain_url: str | None, json: bool) -> None:
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/admin/offers")
    if json:
        show_json(found)
        return
    table(
        "",
        ["cloud", "age", ">failures", "what went wrong", "what it told that cannot be"],
        [
            [
                f"[bold]{cell(one['cloud'])}[/]",
                "-" if one["age_seconds"] is None else f"{one['age_seconds']:.0f} s ago",
                str(one["failures"]),
                cell(one["failure"]),
                cell(one["refused"]),
            ]
            for one in found["sources"]
        ],
        empty="No cloud was ever asked.",
    )
    if found["blocks"]:
        names = ("cloud", "region", "gpu_name", "host", "offer", "reason")
        table(
            "\nWhat rests",
            ["cloud", "region", "GPU", "host", "offer", "why", ">for"],
            [[*(cell(b[n]) for n in names), f"{b['resting_seconds']} s"] for b in found["blocks"]],
        )
