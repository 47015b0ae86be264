"""secret: values that only the workers and pods of the account are given."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed, read_secret
from cli.faults import CliError
from cli.output import cell, console, show_json, table, when

app = typer.Typer(no_args_is_help=True, help="Secrets, such as HF_TOKEN: set, list, delete.")

Named = Annotated[str, typer.Argument(help="As an environment variable is named: HF_TOKEN.")]


@app.command("set")
def set_secret(
    name: Named,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Set or replace a secret; its value is asked for unseen, or read from standard input.

    Never an argument: those are seen by every process of this machine.
    """
    value = read_secret(f"Value of {name}")
    if not value:
        raise CliError("The value is empty.", f"Pipe it in: ganglion secret set {name} < file")
    with connect(brain_url) as brain:
        kept = brain.put(f"/api/v1/secrets/{quote(name, safe='')}", {"value": value})
    if json:
        show_json(kept)
    else:
        console.print(f"{cell(kept['name'])} is set. Workers that start from now on are given it.")


@app.command("list")
def list_secrets(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 100) -> None:
    """Names and dates. Values are shown to nobody."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/secrets", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["name", "set", "made"],
        [
            [f"[bold]{cell(one['name'])}[/]", when(one["changed_at"]), when(one["created_at"])]
            for one in found
        ],
        empty="There are no secrets. Set one: ganglion secret set HF_TOKEN",
    )


@app.command("delete")
def delete_secret(name: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Forget a secret. What runs keeps its value; what starts anew and asks for it waits."""
    with connect(brain_url) as brain:
        brain.delete(f"/api/v1/secrets/{quote(name, safe='')}")
    if json:
        show_json({"name": name, "deleted": True})
    else:
        console.print(f"{cell(name)} is forgotten.")
