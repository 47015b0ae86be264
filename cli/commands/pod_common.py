"""What the commands of pods share: their address, waiting for a state, saying how to get in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from cli.commands.common import looks
from cli.faults import CliError
from cli.output import cell, console, state

if TYPE_CHECKING:
    from cli.client import Brain

Named = Annotated[str, typer.Argument(help="The pod's name, slug or id.")]
Wait = Annotated[bool, typer.Option(help="Return once it is so.")]
URL = "/api/v1/pods"
WAIT_SECONDS_MAX = 1800.0


def path_of(pod: str) -> str:
    return f"{URL}/{quote(pod, safe='')}"


def say_addresses(found: Any) -> None:
    for one in found["ports"]:
        if one["url"]:
            console.print(f"port {one['port']}: [bold]{cell(one['url'])}[/]")
    if found["notice"]:
        console.print(f"[yellow]{cell(found['notice'])}[/]")
    for one in found["endpoints"]:
        console.print(f"{one['kind']} {one['port']} (cloud): [bold]{cell(one['address'])}[/]")
    if found["ssh"]:
        hint = "" if found["ssh_keys"] else "  [yellow](add a key: ganglion ssh-key add)[/]"
        console.print(f"shell: [bold]{cell(found['ssh'])}[/]{hint}")


def follow(brain: Brain, pod_id: str, wanted: str, *, quiet: bool) -> Any:
    """Wait for a state, telling each change; an error when it cannot come."""
    told = ""
    for seconds, found in looks(brain, f"{URL}/{pod_id}", WAIT_SECONDS_MAX):
        said = f"{state(found['state'])}  {cell(found['reason'])}"
        if not quiet and said != told:
            told = said
            console.print(f"[dim]{seconds:6.1f} s[/]  {said}")
        if found["state"] == wanted:
            return found
        if wanted == "running" and found["state"] in ("failed", "stopped", "terminated"):
            raise CliError(
                f"{found['name']} is {found['state']}: {found['reason']}",
                f"ganglion pod logs {found['name']} and ganglion pod events {found['name']} say"
                " more.",
            )
    raise CliError(
        f"{found['name']} is {found['state']}, not {wanted}, after {seconds:.0f} s.",
        f"Look at: ganglion pod why {found['name']}",
        code="timeout",
    )
