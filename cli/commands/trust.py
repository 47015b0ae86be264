"""nodes checks, nodes reliability, nodes maintenance, admin checks: what makes a node trusted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.faults import CliError
from cli.output import cell, console, facts, show_json, table, when

NodeArg = Annotated[str, typer.Argument(help="The node's id.")]
SHADES = {"ok": "green", "info": "blue", "warn": "yellow", "fatal": "red"}

maintenance = typer.Typer(no_args_is_help=True, help="Maintenance windows: add, list, cancel.")
admin_checks = typer.Typer(help="Kinds of checks and their modes.", invoke_without_command=True)


def add_to(nodes: typer.Typer, admin: typer.Typer) -> None:
    """Hang these commands where people look for them."""
    nodes.command("checks")(checks)
    nodes.command("reliability")(reliability)
    nodes.add_typer(maintenance, name="maintenance")
    admin.add_typer(admin_checks, name="checks")


def checks(node: NodeArg, brain_url: BrainUrl = None, json: Json = False) -> None:
    """What your node's agent found of its machine, and what the checks of its GPUs found."""
    with connect(brain_url, user=True) as brain:
        found = brain.get(f"/api/v1/provider/nodes/{node}/checks")
    if json:
        show_json(found)
        return
    if found["withheld"]:
        console.print(f"[red]It is not sold.[/] {cell(found['withheld'])}", soft_wrap=True)
    newest = found["preflight"][0] if found["preflight"] else {"points": []}
    table(
        f"Its machine, as told {when(newest['at'])}" if found["preflight"] else "",
        ["point", "", "found"],
        [_point(point) for point in newest["points"]],
        empty="Its agent has told nothing of its machine yet.",
    )
    table(
        "Checks of its GPUs",
        ["when", "kind", "GPU", "result", "mode", "why"],
        [
            [
                when(one["at"]),
                one["kind"],
                cell(one["gpu_uuid"]),
                "passed" if one["passed"] else "[red]failed[/]",
                one["mode"],
                cell(one["reason"]),
            ]
            for one in found["findings"]
        ],
        empty="No check of its GPUs has ended yet.",
    )


def _point(point: dict[str, Any]) -> list[str]:
    shade = SHADES.get(point["severity"], "white")
    return [
        cell(point["name"]),
        f"[{shade}]{cell(point['severity'])}[/]",
        cell(point.get("said", "")),
    ]


def reliability(
    node: NodeArg,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compute it again, from the answer alone.")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """A node's score with every event in it."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/nodes/{node}/reliability")
    again = recomputed(found) if verify else None
    if verify and again != (found["reliability_ppm"], found["uptime_ppm"], found["penalty"]):
        raise CliError(
            f"The score does not follow from its events: {again} is what they give.",
            "Tell the operator, with the output of --json.",
            code="not_verified",
        )
    if json:
        show_json({**found, "verified": verify})
        return
    facts(
        {
            "reliability": f"{found['reliability_ppm'] / 10_000:.4f} %",
            "uptime": f"{found['uptime_ppm'] / 10_000:.4f} %",
            "penalty": f"{found['penalty']:,}",
            "leases served": f"{found['served_ppm'] / 1_000_000:.1f} (weighed)",
        }
    )
    table(
        "",
        ["event", "of", ">weight", ">counts", "what"],
        [
            [
                one["kind"],
                cell(one["subject"]),
                f"{one['weight_ppm'] / 10_000:.1f} %",
                f"{one['counted']:,}",
                cell(one["detail"]),
            ]
            for one in found["events"]
        ],
        empty="Nothing has happened that counts.",
    )
    if verify:
        console.print("Verified: the score follows from these events.")


def recomputed(found: dict[str, Any]) -> tuple[int, int, int]:
    """Score, uptime and penalty from the events' kinds, times and seconds, and nothing else."""
    from kernel.reliability import Event, EventKind, score

    events = [
        Event(one["at_ns"], EventKind(one["kind"]), one["subject"], one["seconds"])
        for one in found["events"]
    ]
    made = score(events, since_ns=found["since_ns"], as_of_ns=found["as_of_ns"])
    return made.ppm, made.uptime_ppm, made.penalty


@maintenance.command("add")
def add(
    node: NodeArg,
    begin: Annotated[str, typer.Argument(metavar="FROM", help="Such as 2026-12-01T08:00Z.")],
    until: Annotated[str, typer.Argument(help="Such as 2026-12-01T10:00Z.")],
    reason: Annotated[str, typer.Option(help="Who rents there reads it.")] = "",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Announce maintenance: nothing new is placed, nothing is evicted, renters are told."""
    body = {"from": begin, "until": until, "reason": reason}
    with connect(brain_url, user=True) as brain:
        made = brain.post(f"/api/v1/provider/nodes/{node}/maintenance", body)
    if json:
        show_json(made)
        return
    console.print(
        f"{made['window_id']}: nothing new is placed from {when(made['no_new_work_from'])} on."
    )
    if made["late"]:
        console.print("[yellow]It is announced late, which counts in the node's score.[/]")


@maintenance.command("list")
def list_windows(
    node: NodeArg, brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50
) -> None:
    """The node's windows, in the order of their announcement."""
    with connect(brain_url, user=True) as brain:
        found = listed(brain, f"/api/v1/provider/nodes/{node}/maintenance", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "from", "until", "state", "late", "why"],
        [
            [
                one["window_id"],
                when(one["from"]),
                when(one["until"]),
                one["state"],
                "yes" if one["late"] else "",
                cell(one["reason"]),
            ]
            for one in found
        ],
        empty="No maintenance was announced.",
    )


@maintenance.command("cancel")
def cancel(
    node: NodeArg,
    window: Annotated[str, typer.Argument(help="The window's id.")],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Take a window back, or end it early."""
    with connect(brain_url, user=True) as brain:
        made = brain.delete(f"/api/v1/provider/nodes/{node}/maintenance/{window}")
    if json:
        show_json(made)
        return
    console.print(f"{cell(window)} is cancelled.")


@admin_checks.callback()
def list_modes(context: typer.Context, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Without a sub-command: each kind of check, its mode, and how often it was wrong."""
    if context.invoked_subcommand is not None:
        return
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/admin/checks")["items"]
    _modes(found, json)


@admin_checks.command("set")
def set_mode(
    kind: Annotated[str, typer.Argument(help="A kind of check, such as memory.")],
    mode: Annotated[str, typer.Argument(help="off, shadow or enforced.")],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Put a kind of check into a mode; enforced needs days in shadow mode first."""
    with connect(brain_url, user=True) as brain:
        found = brain.put(f"/api/v1/admin/checks/{kind}", {"mode": mode})["items"]
    _modes(found, json)


@admin_checks.command("run")
def run(node: NodeArg, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Have a node's idle GPUs checked now."""
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"/api/v1/admin/nodes/{node}/check")
    if json:
        show_json(found)
        return
    console.print(f"{cell(node)} is checked at the next look.")


def _modes(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        show_json(found)
        return
    rows = [
        [
            one["kind"],
            one["mode"],
            when(one["since"]),
            str(one["passed"]),
            str(one["failed"]),
            str(one["false_positives"]),
            when(one["may_be_enforced_at"]) if one["may_be_enforced_at"] else "",
        ]
        for one in found
    ]
    names = ["kind", "mode", "since", ">passed", ">failed", ">wrong", "enforced from"]
    table("", names, rows, empty="There is none.")
