"""catalog: what can be deployed, what it needs, where it fits now."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.output import cell, console, dollars, facts, show_json, table


def catalog(
    model: Annotated[
        str | None, typer.Argument(help="A model's id, to see its needs and where it fits.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only models of this kind.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of context to reckon with.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests at once to reckon with.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 200,
) -> None:
    """Models that can be deployed; with a model's id: the sum of its memory, and its fits."""
    with connect(brain_url) as brain:
        if model is None:
            found: Any = listed(brain, "/api/v1/catalog", limit, kind=kind)
        else:
            path = f"/api/v1/catalog/{quote(model, safe='/')}"
            found = brain.get(path, context=context, concurrency=concurrency)
    if json:
        show_json(found)
    elif model is None:
        _show_list(found)
    else:
        _show_model(found)


def _show_list(models: list[Any]) -> None:
    table(
        "",
        ["model", "kind", "engine", ">context", "licence", ">pool, a GPU-hour", "summary"],
        [
            [
                f"[bold]{cell(m['id'])}[/]",
                m["kind"],
                m["engine"],
                f"{m['context_max']:,}",
                cell(m["licence"]),
                dollars(m["pool_price_usd_per_gpu_hour"]),
                cell(m["summary"]),
            ]
            for m in models
        ],
        empty="The catalog has no such models.",
    )


def _show_model(found: dict[str, Any]) -> None:
    console.print(f"[bold]{cell(found['id'])}[/]  {cell(found['name'])}")
    console.print(cell(found["summary"]))
    facts(
        {
            "kind": found["kind"],
            "engine": found["engine"],
            "licence": cell(found["licence"]),
            "reckoned for": f"{found['context']:,} tokens x {found['concurrency']} at once",
        }
    )
    for needed in found["needs"]:
        table(
            f"\nOn {needed['gpus']} GPU(s): {needed['memory_mib']:,} MiB each",
            ["part", ">MiB", "how"],
            [[cell(x["label"]), f"{x['mib']:,}", cell(x["how"])] for x in needed["lines"]],
        )
    console.print(f"\n{cell(found['outcome'])}")
    show_candidates(found["fits"])


def show_candidates(candidates: list[Any]) -> None:
    """Offers with what speaks for or against each."""
    table(
        "",
        ["node", "GPU", ">free", ">a GPU-hour", "fits", "why"],
        [
            [
                cell(c["node_name"] or c["node_id"]),
                cell(c["gpu_name"]) + (" [dim](simulated)[/]" if c["simulated"] else ""),
                f"{c['free']}/{c['total']}",
                dollars(c["price_usd_per_gpu_hour"]),
                "[green]yes[/]" if c["ok"] else "[red]no[/]",
                cell("; ".join(c["reasons"])),
            ]
            for c in candidates
        ],
        empty="No node is on offer.",
    )
