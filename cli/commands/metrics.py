"""metrics: what GPUs and workers did over time, as lines that fit a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect, find_deployment
from cli.faults import CliError
from cli.output import cell, console, show_json, table

if TYPE_CHECKING:
    from datetime import datetime

BARS = "▁▂▃▄▅▆▇█"
GAP = "\u2800"  # blank to the eye, and no place to fold a line at
WIDTH = 60
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Last = Annotated[str, typer.Option("--last", help="How far back: 30m, 1h, 7d; at most 396 days.")]


def node_metrics(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    gpu: Annotated[str | None, typer.Option(help="One GPU, by its UUID.")] = None,
    last: Last = "1h",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """A node and its GPUs over time: yours whole, another's as far as you rent there."""
    asked = {"gpu": gpu} if gpu is not None else {}
    _show(f"/api/v1/nodes/{node}/metrics", asked, last, brain_url, as_json=json)


def metrics(
    deployment: Annotated[str, typer.Argument(help="A deployment's id or name.")],
    last: Last = "1h",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """GPUs and workers of a deployment over time, each replica by itself."""
    with connect(brain_url) as brain:
        own = find_deployment(brain, deployment)
    _show(f"/api/v1/deployments/{own}/metrics/history", {}, last, brain_url, as_json=json)


def _show(
    path: str, asked: dict[str, str], last: str, brain_url: str | None, *, as_json: bool
) -> None:
    from datetime import UTC, datetime

    from kernel.clock import NS, SystemClock

    now = datetime.fromtimestamp(SystemClock().now_ns() // NS, UTC)
    window = {"from": _before(now, last), "to": now.isoformat()}
    with connect(brain_url) as brain:
        found = brain.get(path, **asked, **window)
    if as_json:
        show_json(found)
        return
    rows = [row for series in found["series"] for row in _rows(series)]
    table(
        "",
        ["of", "metric", f"last {last}, {WIDTH} cells at most", ">low", ">mean", ">high", ">now"],
        rows,
        empty="Nothing was measured in this time.",
    )
    if rows:
        console.print(f"[dim]{found['step_seconds']} s a point; a blank is a gap.[/]")


def _before(now: datetime, last: str) -> str:
    from datetime import timedelta

    return (now - timedelta(seconds=seconds_of(last))).isoformat()


def seconds_of(text: str) -> int:
    """``90s``, ``30m``, ``1h``, ``7d`` as seconds; anything else is told what to write."""
    found = re.fullmatch(r"([1-9]\d{0,6})([smhd])", text)
    if found is None:
        raise CliError(
            f"'{text}' is not a time.", "Write it as 90s, 30m, 1h or 7d.", code="bad_input"
        )
    return int(found[1]) * UNIT_SECONDS[found[2]]


def _rows(series: dict[str, Any]) -> list[list[str]]:
    name = series["gpu_uuid"] or series["replica_id"] or series["node_id"]
    rows: list[list[str]] = []
    for metric, told in series["metrics"].items():
        means = told["mean"]
        known = [value for value in means if value is not None]
        lows = [value for value in told["low"] if value is not None]
        highs = [value for value in told["high"] if value is not None]
        rows.append(
            [
                f"{series['kind']} {cell(name)}" if not rows else "",
                f"{metric.replace('_', ' ')}",
                f"[cyan]{sparkline(means)}[/]",
                number(min(lows)),
                number(sum(known) / len(known)),
                number(max(highs)),
                number(known[-1]),
            ]
        )
    return rows


def sparkline(values: Sequence[float | None], width: int = WIDTH) -> str:
    """A bar a value, by the range of the values themselves; several to a cell are averaged, and
    a cell where nothing was measured stays blank."""
    cells = _squeezed(values, width)
    known = [value for value in cells if value is not None]
    if not known:
        return GAP * len(cells)
    least, most = min(known), max(known)
    span = (most - least) or 1.0
    steps = len(BARS) - 1
    return "".join(
        GAP if value is None else BARS[round((value - least) / span * steps)] for value in cells
    )


def _squeezed(values: Sequence[float | None], width: int) -> list[float | None]:
    if len(values) <= width:
        return list(values)
    cells: list[float | None] = []
    for place in range(width):
        own = values[place * len(values) // width : (place + 1) * len(values) // width]
        known = [value for value in own if value is not None]
        cells.append(sum(known) / len(known) if known else None)
    return cells


def number(value: float) -> str:
    """Three figures that matter, with no idle zeros."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
