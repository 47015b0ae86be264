"""provider: what your nodes earn; disputes, and what a node signed of a lease's time."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands import nodes
from cli.commands.common import BrainUrl, Json, Limit, connect, listed
from cli.faults import CliError
from cli.output import cell, console, facts, show_json, table

app = typer.Typer(
    help="For providers: join a machine, revoke one, what your nodes earn.", no_args_is_help=True
)
app.command("join")(nodes.join)
app.command("revoke")(nodes.revoke)


@app.command("earnings")
def earnings(
    days: Annotated[int, typer.Option(min=1, max=366, help="How far back.")] = 30,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Pending and matured earnings, by node and by day, and how busy each node was."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/provider/earnings?days={days}")
    if json:
        show_json(found)
        return
    matures = found["matures_after_seconds"] // 86_400
    facts(
        {
            "pending": f"{found['pending_usd']} (matures after {matures} days)",
            "matured": found["matured_usd"],
            "payable now": found["payable_usd"],
            "on its way": found["under_way_usd"],
        }
    )
    table(
        f"Nodes, last {found['days']} days",
        ["node", "name", ">GPUs", ">GPU-seconds", ">earned", ">utilisation"],
        [
            [
                node["node_id"] or "-",
                cell(node["name"]),
                str(node["gpus"]),
                node["gpu_seconds"],
                node["earned_usd"],
                f"{node['utilisation_ppm'] / 10_000:.1f} %",
            ]
            for node in found["by_node"]
        ],
        empty="You offer no node; `ganglion nodes join` gets the command that joins one.",
    )
    if found["by_day"]:
        rows = [[d["day"], d["gpu_seconds"], d["earned_usd"]] for d in found["by_day"]]
        table("Days (UTC)", ["day", ">GPU-seconds", ">earned"], rows, empty="")


def disputes(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """Leases of yours of which we and the node count differently, and what went back."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/disputes", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["lease", "you are", "why", ">billed GPU-s", ">signed GPU-s", ">went back"],
        [
            [
                one["lease_id"],
                one["yours"],
                cell(one["reason"]),
                f"{one['billed_gpu_ns'] / 1e9:.1f}",
                f"{one['signed_gpu_ns'] / 1e9:.1f}",
                one["credit_usd"],
            ]
            for one in found
        ],
        empty="There is no dispute.",
    )


def minutes(
    lease: Annotated[str, typer.Argument(help="The lease's id (it stands on a receipt).")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every hash and signature here.")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What a node signed of a lease's time, minute by minute."""
    with connect(brain_url) as brain:
        found = _whole_chain(brain, lease)
    if verify:
        _verify(found)
    if json:
        show_json(found)
        return
    facts(
        {
            "lease": found["lease_id"],
            "node": found["node_id"],
            "records": found["records"],
            "GPU-seconds signed": f"{found['gpu_ns'] / 1e9:.3f}",
            "chain": cell(found["broken"] or "whole"),
        }
    )
    if verify:
        console.print(f"[green]{len(found['minutes'])} records verified: hashes and signatures.[/]")


def _whole_chain(brain: Any, lease: str) -> dict[str, Any]:
    found: dict[str, Any] = brain.get(f"/api/v1/leases/{lease}/minutes")
    while found["next_after"] is not None:
        more = brain.get(f"/api/v1/leases/{lease}/minutes?after={found['next_after']}")
        found["minutes"] += more["minutes"]
        found["next_after"] = more["next_after"]
    return found


def _verify(found: dict[str, Any]) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from kernel.wire.minutes import Chain, Minute, fault

    keys = [Ed25519PublicKey.from_public_bytes(bytes.fromhex(k)) for k in found["public_keys"]]

    def signed(message: bytes, signature: bytes) -> bool:
        for key in keys:
            try:
                key.verify(signature, message)
            except InvalidSignature:
                continue
            return True
        return False

    chain = Chain()
    for one in found["minutes"]:
        values = {name: one[name] for name in Minute.__struct_fields__ if name in one}
        record = Minute(lease_id=found["lease_id"], **values)
        wrong = fault(chain, record, node_id=found["node_id"], gpus=found["gpus"], signed=signed)
        if wrong:
            raise CliError(f"The chain does not hold: {wrong}.")
        chain = chain.and_then(found["node_id"], record)
    if (chain.number, chain.gpu_ns) != (found["records"], found["gpu_ns"]):
        raise CliError("The records do not sum to what the brain says of them.")
