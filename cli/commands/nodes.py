"""nodes: the machines on offer, and one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, given, listed
from cli.output import cell, console, dollars, facts, show_json, state, table

app = typer.Typer(
    help="Nodes: list; for providers: join, price, revoke.", invoke_without_command=True
)


@app.callback()
def nodes(
    context: typer.Context,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """Without a sub-command: the nodes that you may use, and your own."""
    if context.invoked_subcommand is None:
        list_nodes(brain_url=brain_url, json=json, limit=limit)


@app.command("list")
def list_nodes(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """Nodes with their GPUs, price and state."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/nodes", limit)
    if json:
        show_json(found)
        return
    rows = []
    for node in found:
        gpu = node["gpus"][0]["name"] if node["gpus"] else "-"
        rows.append(
            [
                node["node_id"],
                f"[bold]{cell(node['name'])}[/]" + (" (yours)" if node["yours"] else ""),
                state(node["state"]),
                f"{len(node['gpus'])} x {cell(gpu)}"
                + (" [yellow](simulated)[/]" if node["simulated"] else ""),
                f"{node['gpus_free']}/{node['gpus_total']}",
                dollars(node["price_usd_per_gpu_hour"]),
                "-" if node["age_seconds"] is None else f"{node['age_seconds']:.0f} s ago",
                cell(node["agent_version"] or "-")
                + (" [yellow](old)[/]" if node["agent_outdated"] else ""),
            ]
        )
    table(
        "",
        ["id", "name", "state", "GPUs", ">free", ">a GPU-hour", "heard", "agent"],
        rows,
        empty="No node is on offer.",
    )


@app.command("join")
def join(
    name: Annotated[str, typer.Option(help="The provider's name.")] = "My machines",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Become a provider, and get the command that joins one machine (30 minutes, once)."""
    with connect(brain_url, user=True) as brain:
        brain.post("/api/v1/provider", {"name": name})
        made = brain.post("/api/v1/provider/join-tokens")
    if json:
        show_json(made)
        return
    console.print("On the machine with the GPUs, run (30 minutes, one machine):")
    console.print(f"[bold]{cell(made['command'])}[/]", soft_wrap=True)
    console.print("Where it has no curl:")
    console.print(cell(made["commands"]["python3"]), soft_wrap=True)


@app.command("revoke")
def revoke(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Refuse a node's key from now on; its leases end. It must join anew to come back."""
    with connect(brain_url, user=True) as brain:
        found = brain.delete(f"/api/v1/provider/nodes/{node}")
    if json:
        show_json(found)
        return
    facts({"node": found["node_id"], "leases that end": found["leases_ending"]})


@app.command("price")
def price(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    dollars_an_hour: Annotated[
        str | None, typer.Argument(metavar="[DOLLARS]", help="A GPU-hour's price, such as 0.79.")
    ] = None,
    listed_: Annotated[
        bool | None, typer.Option("--list/--unlist", help="Whether it is on offer.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Set what one of your nodes asks, and whether it is on offer."""
    body = given(price_usd_per_gpu_hour=dollars_an_hour, listed=listed_)
    with connect(brain_url, user=True) as brain:
        found = brain.patch(f"/api/v1/provider/nodes/{node}", body)
    if json:
        show_json(found)
        return
    facts(
        {
            "node": found["node_id"],
            "a GPU-hour": dollars(found["price_usd_per_gpu_hour"]),
            "on offer": found["listed"],
        }
    )
