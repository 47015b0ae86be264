"""admin strays, admin drop-stray: volumes on nodes that belong to nobody."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from cli.commands.common import BrainUrl, Json, connect
from cli.output import cell, console, show_json, table, when

PATH = "/api/v1/admin/volumes/strays"


def add_to(admin: typer.Typer) -> None:
    admin.command("strays")(list_strays)
    admin.command("drop-stray")(drop_stray)


def list_strays(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Volumes that nodes report and nobody owns there; none is ever removed by itself."""
    with connect(brain_url, user=True) as brain:
        found = brain.get(PATH, limit=500)["items"]
    if json:
        show_json(found)
        return
    table(
        "",
        ["node", "volume", ">used", "first seen", "last seen", "going"],
        [
            [
                cell(one["node_id"]),
                cell(one["volume_id"]),
                f"{one['used_mib']:,} MiB",
                when(one["first_at"]),
                when(one["seen_at"]),
                "yes" if one["dropping"] else "",
            ]
            for one in found
        ],
        empty="There are none.",
    )


def drop_stray(
    node: Annotated[str, typer.Argument(help="The node's id, as `admin strays` shows it.")],
    volume: Annotated[str, typer.Argument(help="The volume's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Have a node remove a volume that nobody owns, with all that is on it."""
    if not yes:
        typer.confirm(f"Remove {volume} from {node}, for good?", abort=True, err=True)
    with connect(brain_url, user=True) as brain:
        made = brain.delete(f"{PATH}/{quote(node, safe='')}/{quote(volume, safe='')}")
    if json:
        show_json(made)
    else:
        console.print(f"{cell(node)} is told to remove {cell(volume)}.")
