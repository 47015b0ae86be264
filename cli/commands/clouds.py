"""clouds: accounts at clouds, rented machines, and the money at risk there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect
from cli.commands.costs import bills
from cli.output import cell, console, dollars, show_json, state, table, when

app = typer.Typer(
    help="For administrators: rented machines and what they cost.", invoke_without_command=True
)
app.add_typer(bills, name="bills")
Cloud = Annotated[str, typer.Argument(help="The cloud's name, such as runpod.")]


@app.callback()
def clouds(context: typer.Context, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Without a sub-command: accounts, machines, unknown machines, alerts, money at risk now."""
    if context.invoked_subcommand is not None:
        return
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/admin/clouds")
    if json:
        show_json(found)
        return
    for alert in found["alerts"]:
        console.print(f"[red]{cell(alert['said'])}[/] (since {when(alert['since'])})")
    table(
        "",
        ["cloud", "account", "last sweep", ">machines", ">unknown", ">an hour", ">so far"],
        [_cloud(one) for one in found["clouds"]],
        empty="No cloud was ever used.",
    )
    machines = [(one["cloud"], m) for one in found["clouds"] for m in one["machines"]]
    if machines:
        table(
            "",
            ["id", "cloud", "state", "since", "GPUs", "machine", ">so far", "last trouble"],
            [_machine(cloud, machine) for cloud, machine in machines],
        )
    total = dollars(found["cost_per_hour_usd"])
    console.print(f"At risk now: {total} an hour, {dollars(found['cost_so_far_usd'])} so far.")


@app.command("freeze")
def freeze(
    cloud: Cloud,
    reason: Annotated[str, typer.Option(help="Why; people see it.")] = "frozen by hand",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Destroy nothing unknown at this cloud until it is unfrozen."""
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"/api/v1/admin/clouds/{cloud}/freeze", {"reason": reason})
    _done(found, json)


@app.command("unfreeze")
def unfreeze(cloud: Cloud, brain_url: BrainUrl = None, json: Json = False) -> None:
    """You looked at the unknown machines: those of now may be destroyed."""
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"/api/v1/admin/clouds/{cloud}/unfreeze")
    _done(found, json)


def _done(found: dict[str, Any], json: bool) -> None:
    if json:
        show_json(found)
    else:
        how = "frozen" if found["frozen"] else "not frozen"
        console.print(f"{cell(found['cloud'])} is {how}.")


def _cloud(one: dict[str, Any]) -> list[object]:
    account = state(one["account"])
    if one["frozen"]:
        account += " [red]frozen[/]"
    swept = one["last_sweep"]
    looked = "-" if swept is None else when(swept["at"])
    if swept is not None and not swept["complete"]:
        looked += " [yellow](not complete)[/]"
    return [
        cell(one["cloud"]),
        account,
        looked,
        str(len(one["machines"])),
        str(len(one["unknown"])),
        dollars(one["cost_per_hour_usd"]),
        dollars(one["cost_so_far_usd"]),
    ]


def _machine(cloud: str, machine: dict[str, Any]) -> list[object]:
    return [
        machine["intent_id"],
        cell(cloud),
        state(machine["state"]),
        when(machine["since"]),
        f"{machine['gpus']} x {cell(machine['gpu_name'])}",
        cell(machine["machine_id"]),
        dollars(machine["cost_so_far_usd"]),
        cell(machine["last_error"]),
    ]
