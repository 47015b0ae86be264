"""logs: what the workers of a deployment wrote, and what they write now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect, find_deployment, pause
from cli.faults import CliError
from cli.output import cell, console, show_json, show_json_line, when

if TYPE_CHECKING:
    from cli.client import Brain

AGAIN_MAX = 20  # times in a row that a stream which ends at once is asked for anew
STREAM_COLOURS = {"stderr": "yellow", "agent": "cyan"}


def logs(
    deployment: Annotated[str, typer.Argument(help="The deployment's id or name.")],
    tail: Annotated[int, typer.Option(min=0, max=1000, help="How many lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    replica: Annotated[str | None, typer.Option(help="Only this replica's, ended or not.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Not before: 10m, 2h, 1d, or a time with its zone.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What the workers of a deployment wrote. With --json one document; followed, one a line."""
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}/logs"
        asked = {"tail": tail, "replica": replica, "since": since}
        if not follow:
            found = brain.get(path, **asked)["items"]
            show_json(found) if json else _print(found)
            return
        for line in followed(brain, path, asked):
            show_json_line(line) if json else _print([line])


def followed(brain: Brain, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines as they come, each once. A stream that ends is asked for anew, from the last line."""
    newest: dict[str, int] = {}
    failures = 0
    query = dict(asked)
    while True:
        try:
            for line in brain.lines(path, **query, follow="true"):
                failures = 0
                if "number" not in line:
                    continue
                if line["number"] > newest.get(line["replica_id"], -1):
                    newest[line["replica_id"]] = line["number"]
                    query |= {"since": line["at"], "tail": 1000}
                    yield line
        except CliError as fault:
            if fault.code not in ("transport", "timeout", "unreachable") or failures >= AGAIN_MAX:
                raise
        failures += 1
        pause(min(failures, 5))


def _print(lines: list[Any]) -> None:
    for line in lines:
        colour = STREAM_COLOURS.get(line["stream"])
        text = f"[{colour}]{cell(line['text'])}[/]" if colour else cell(line["text"])
        who = line["replica_id"][-6:]
        console.print(f"[dim]{when(line['at'])} {who}[/] {text}", soft_wrap=True)
