"""What the commands of pods share: their address, waiting for a state, saying how to get in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from cli.faults import CliError
from cli.output import cell, console, state

if TYPE_CHECKING:
    from cli.client import Brain

Named = Annotated[str, typer.Argument(help="The pod's name, slug or id.")]
Wait = Annotated[bool, typer.Option(help="Return once it is so.")]
URL = "/api/v1/pods"
WAIT_SECONDS_MAX = 1800.0
POLL_SECONDS = 0.5


def path_of(pod: str) -> str:
    return f"{URL}/{quote(pod, safe='')}"


def say_addresses(found: Any) -> None:
    for one in found["ports"]:
        console.print(f"port {one['port']}: [bold]{cell(one['url'])}[/]")
    if found["ssh"]:
        hint = "" if found["ssh_keys"] else "  [yellow](add a key: ganglion ssh-key add)[/]"
        console.print(f"shell: [bold]{cell(found['ssh'])}[/]{hint}")


def follow(brain: Brain, pod_id: str, wanted: str, *, quiet: bool) -> Any:
    """Wait for a state, telling each change; an error when it cannot come."""
    from kernel.clock import NS, SystemClock

    clock = SystemClock()
    began, told = clock.monotonic_ns(), ""
    while True:
        found = brain.get(f"{URL}/{pod_id}")
        seconds = (clock.monotonic_ns() - began) / NS
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
        if seconds > WAIT_SECONDS_MAX:
            raise CliError(
                f"{found['name']} is {found['state']}, not {wanted}, after {seconds:.0f} s.",
                f"Look at: ganglion pod why {found['name']}",
                code="timeout",
            )
        pause(POLL_SECONDS)


def pause(seconds: float) -> None:
    import time

    time.sleep(seconds)
