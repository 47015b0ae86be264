"""volume, ssh-key, registry: what outlives a pod, and what opens it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed, read_secret
from cli.faults import CliError
from cli.output import cell, console, dollars, show_json, state, table, when

volumes = typer.Typer(no_args_is_help=True, help="Volumes: create, list, delete.")
keys = typer.Typer(no_args_is_help=True, help="SSH keys that open pods: add, list, delete.")
registries = typer.Typer(
    no_args_is_help=True, help="Credentials for private images: add, list, delete."
)

Named = Annotated[str, typer.Argument(help="Its name or id.")]
KEY_BYTES_MAX = 65_536


@volumes.command("create")
def create_volume(
    name: Annotated[str, typer.Argument(help="Lower case, digits, dashes.")],
    size: Annotated[int, typer.Argument(min=1, help="GiB.")],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Make a volume for pods to use; it costs nothing before one has used it."""
    with connect(brain_url) as brain:
        made = brain.post("/api/v1/volumes", {"name": name, "size_gib": size})
    if json:
        show_json(made)
    else:
        console.print(f"[bold]{cell(made['name'])}[/] is {made['volume_id']}.")


@volumes.command("list")
def list_volumes(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """The account's volumes, newest first."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/volumes", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "state", ">GiB", ">used", "pod", "node", ">an hour", ">so far", "goes"],
        [
            [
                v["volume_id"],
                f"[bold]{cell(v['name'])}[/]",
                state(v["state"]),
                str(v["size_gib"]),
                f"{v['used_mib']:,} MiB",
                cell(v["pod_id"]),
                cell(v["node_id"]),
                dollars(v["cost_usd_per_hour"]),
                dollars(v["cost_usd"]),
                when(v["lapses_at"]),
            ]
            for v in found
        ],
        empty="There are no volumes. Make one: ganglion volume create my-data 20",
    )


@volumes.command("delete")
def delete_volume(volume: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Remove a volume with all that is on it."""
    with connect(brain_url) as brain:
        found = brain.delete(f"/api/v1/volumes/{quote(volume, safe='')}")
    if json:
        show_json(found)
    else:
        console.print(f"{cell(found['name'])} is {state(found['state'])}.")


@keys.command("add")
def add_key(
    file: Annotated[
        Path | None, typer.Argument(help="A .pub file; else standard input is read.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Without it the key's own comment.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Add a public key; it opens a shell in each of the account's pods."""
    body = {"public_key": _public_key(file)} | ({"name": name} if name else {})
    with connect(brain_url) as brain:
        made = brain.post("/api/v1/ssh-keys", body)
    if json:
        show_json(made)
    else:
        console.print(f"[bold]{cell(made['name'])}[/] is added: {cell(made['fingerprint'])}")


@keys.command("list")
def list_keys(brain_url: BrainUrl = None, json: Json = False) -> None:
    """All of the account's keys."""
    with connect(brain_url) as brain:
        found = brain.get("/api/v1/ssh-keys")["items"]
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "fingerprint", "added"],
        [
            [
                k["ssh_key_id"],
                f"[bold]{cell(k['name'])}[/]",
                cell(k["fingerprint"]),
                when(k["created_at"]),
            ]
            for k in found
        ],
        empty="There are no SSH keys. Add one: ganglion ssh-key add ~/.ssh/id_ed25519.pub",
    )


@keys.command("delete")
def delete_key(key: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """It opens nothing any more."""
    with connect(brain_url) as brain:
        brain.delete(f"/api/v1/ssh-keys/{quote(key, safe='')}")
    if json:
        show_json({"ssh_key": key, "deleted": True})
    else:
        console.print(f"{cell(key)} is deleted.")


@registries.command("add")
def add_registry(
    name: Annotated[str, typer.Argument(help="Lower case, digits, dashes.")],
    server: Annotated[str, typer.Argument(help="Such as ghcr.io, or docker.io for Docker Hub.")],
    username: Annotated[str, typer.Argument()],
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Keep credentials; the password or token is asked for unseen, or read from standard input."""
    password = read_secret(f"Password or token for {server}")
    if not password:
        raise CliError("The password is empty.", "Pipe it in: ganglion registry add ... < file")
    body = {"name": name, "server": server, "username": username, "password": password}
    with connect(brain_url) as brain:
        made = brain.post("/api/v1/registries", body)
    if json:
        show_json(made)
    else:
        console.print(f"[bold]{cell(made['name'])}[/] logs in at {cell(made['server'])}.")


@registries.command("list")
def list_registries(brain_url: BrainUrl = None, json: Json = False) -> None:
    """All of the account's, without passwords."""
    with connect(brain_url) as brain:
        found = brain.get("/api/v1/registries")["items"]
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "server", "user", "added"],
        [
            [
                r["registry_id"],
                f"[bold]{cell(r['name'])}[/]",
                cell(r["server"]),
                cell(r["username"]),
                when(r["created_at"]),
            ]
            for r in found
        ],
        empty="There are none. Add one: ganglion registry add github ghcr.io USER",
    )


@registries.command("delete")
def delete_registry(registry: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Forget credentials."""
    with connect(brain_url) as brain:
        brain.delete(f"/api/v1/registries/{quote(registry, safe='')}")
    if json:
        show_json({"registry": registry, "deleted": True})
    else:
        console.print(f"{cell(registry)} is forgotten.")


def _public_key(file: Path | None) -> str:
    if file is None:
        return sys.stdin.read(KEY_BYTES_MAX).strip()
    try:
        text = file.expanduser().read_bytes()[:KEY_BYTES_MAX].decode()
    except (OSError, UnicodeDecodeError) as failed:
        raise CliError(f"{file} cannot be read: {failed}.") from None
    if "PRIVATE KEY" in text:
        raise CliError(f"{file} is a private key.", f"Give the public one: {file}.pub")
    return text.strip()
