"""catalog: what can be deployed, what it needs, where it fits now and at what price."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, show_json, table

BILLION = 10**9
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[show MODEL]",
        help="A model's id, to see the sum of its memory and where it fits; MODEL:fp8 quantised.",
    ),
]


def catalog(
    words: Words = None,
    category: Annotated[
        str | None, typer.Option(help="TEXT, CODE, VISION, EMBEDDING, AUDIO, IMAGE or VIDEO.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only models of this kind.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only models of this engine.")] = None,
    licence: Annotated[str | None, typer.Option(help="Only with this licence (SPDX id).")] = None,
    search: Annotated[str | None, typer.Option(help="Words of the id, name or summary.")] = None,
    fits: Annotated[
        str | None, typer.Option(help="Only what fits on this GPU, such as 'RTX 4090'.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, max=8, help="With --fits: so many of them.")] = 1,
    context: Annotated[int | None, typer.Option(help="Tokens of context to reckon with.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests at once to reckon with.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 200,
) -> None:
    """Models that can be deployed; with a model's id: the sum of its memory, fits and prices."""
    model = _model(words or [])
    with connect(brain_url) as brain:
        if model is not None:
            path = f"/api/v1/catalog/{quote(model, safe='/:')}"
            found: Any = brain.get(path, context=context, concurrency=concurrency)
        else:
            asked = {"category": category and category.upper(), "kind": kind, "engine": engine}
            asked |= {"licence": licence, "q": search, "gpu": fits}
            more = {"gpus": gpus} if fits else {}
            found = listed(brain, "/api/v1/catalog", limit, **asked, **more)
    if json:
        show_json(found)
    elif model is not None:
        _show_model(found)
    else:
        _show_list(found, fits)


def _model(words: list[str]) -> str | None:
    """The model of ``catalog MODEL`` and of ``catalog show MODEL``; None for the list."""
    named = words[1:] if words[:1] == ["show"] else words
    if len(named) > 1 or (words and not named):
        raise CliError("Name one model.", "Look at: ganglion catalog", code="usage")
    return named[0] if named else None


def _show_list(models: list[Any], fits: str | None) -> None:
    columns = ["model", "shelf", ">parameters", ">context", "licence", "engine"]
    columns.append("fits" if fits else "at least")
    table(
        "",
        [*columns, ">pool, a GPU-hour"],
        [
            [
                f"[bold]{cell(m['id'])}[/]",
                m["category"],
                _billions(m),
                f"{m['context_max']:,}",
                cell(m["licence"].removeprefix("LicenseRef-")),
                m["engine"],
                _gpus(m["fits_on"] if fits else m["smallest_gpu"]),
                dollars(m["pool_price_usd_per_gpu_hour"]),
            ]
            for m in models
        ],
        empty="The catalog has no such models.",
    )


def _billions(model: dict[str, Any]) -> str:
    """Billions of parameters, and of those that a token passes where that is fewer."""
    if not model["parameters"]:
        return "-"
    whole, active = model["parameters"] / BILLION, model["active_parameters"] / BILLION
    return f"{whole:.1f}B" if whole == active else f"{whole:.1f}B, {active:.1f}B active"


def _gpus(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    how = f", {found['quantisation']}" if found.get("quantisation") else ""
    return cell(f"{found['gpus']} x {found['gpu']}{how}")


def _show_model(found: dict[str, Any]) -> None:
    console.print(f"[bold]{cell(found['id'])}[/]  {cell(found['name'])}")
    console.print(cell(found["summary"]))
    offered = ", ".join(one["id"] for one in found["quantisations"])
    facts(
        {
            "does": cell(f"{found['category']}: {', '.join(found['routes'])}"),
            "parameters": _billions(found),
            "licence": cell(f"{found['licence_name']} ({found['licence_url']})"),
            "gated": "its weights need a token of somebody who accepted the terms"
            if found["gated"]
            else "no",
            "figures from": cell(found["figures"] or found["source"]),
            "engine": cell(f"{found['engine']} ({found['image']})"),
            "weights": cell(found["weights"]) + (f"; also {cell(offered)}" if offered else ""),
            "reckoned for": f"{found['context']:,} tokens x {found['concurrency']} at once",
        }
    )
    for needed in _shown(found):
        how = f" in {needed['quantisation']}" if needed["quantisation"] else ""
        table(
            f"\nOn {needed['gpus']} GPU(s){how}: {needed['memory_mib']:,} MiB each",
            ["part", ">MiB", "how"],
            [[cell(x["label"]), f"{x['mib']:,}", cell(x["how"])] for x in needed["lines"]],
        )
    _show_places(found["places"])
    console.print(f"\n{cell(found['outcome'])}")
    show_candidates(found["fits"])


def _shown(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each quantisation the sum for the fewest GPUs on which it fits; --json has them all."""
    best: dict[str, int] = {}
    for place in found["places"]:
        if place["fits"]:
            name = place["quantisation"]
            best[name] = min(place["gpus"], best.get(name, place["gpus"]))
    return [x for x in found["needs"] if x["gpus"] == best.get(x["quantisation"], 1)]


def _show_places(places: list[Any]) -> None:
    """Kinds of GPU that can be had now with their prices, then the others, then those too small."""
    fitting = [p for p in places if p["fits"]]
    priced = [p for p in fitting if p["price_usd_per_hour"]]
    priced.sort(key=lambda p: float(p["price_usd_per_hour"]))
    table(
        "\nWhere it fits, and the cheapest of each kind now",
        ["GPU", "weights", ">GPUs", ">MiB each", ">a GPU-hour", ">an hour", "where"],
        [
            [
                cell(p["gpu"]) + (" [dim](simulated)[/]" if p["simulated"] else ""),
                cell(p["quantisation"] or "as published"),
                str(p["gpus"]),
                f"{p['memory_mib']:,}",
                dollars(p["price_usd_per_gpu_hour"]),
                dollars(p["price_usd_per_hour"]),
                cell(p["where"]),
            ]
            for p in priced
        ],
        empty="Nothing on which it fits can be had now.",
    )
    had = {p["gpu"] for p in priced}
    others: dict[str, list[str]] = {}
    for p in fitting:
        if p["gpu"] not in had:
            how = f" in {p['quantisation']}" if p["quantisation"] else ""
            others.setdefault(p["gpu"], []).append(f"{p['gpus']}{how}")
    table(
        "\nWhere it would fit" if others else "",
        ["GPU", "how many"],
        [[cell(gpu), cell(", ".join(counts))] for gpu, counts in others.items()],
        empty=" ",
    )
    small = sorted({p["gpu"] for p in places} - {p["gpu"] for p in fitting})
    if small:
        console.print(f"[dim]Too small: {cell(', '.join(small))}.[/]")


def show_why(found: Any) -> None:
    """What a plan came to, what it waits for, and each candidate."""
    console.print(f"[bold]{cell(found['outcome'])}[/]")
    for reason in found["waiting"]:
        if reason != found["outcome"]:
            console.print(f"[yellow]waiting:[/] {cell(reason)}")
    if found.get("scaling"):
        console.print(f"[bold]scaled:[/] {cell(found['scaling'])}")
    show_candidates(found["candidates"])


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
                cell(" ".join(c["reasons"])),
            ]
            for c in candidates
        ],
        empty="No node is on offer.",
    )
