"""pod create: everything that a pod can be asked for."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, connect, given
from cli.commands.pod_common import URL, Wait, follow, say_addresses
from cli.faults import CliError
from cli.output import cell, console, show_json

Image = Annotated[str, typer.Argument(help="Such as ubuntu:24.04 or ghcr.io/owner/name:tag.")]
Arguments = Annotated[
    list[str] | None, typer.Argument(help="What follows the image's entry point.")
]
Name = Annotated[str | None, typer.Option(help="Lower case, digits, dashes.")]
Command = Annotated[
    list[str] | None, typer.Option(help="In place of the entry point; a word each time.")
]
Env = Annotated[
    list[str] | None, typer.Option("--env", "-e", help="NAME=value; may be given again.")
]
EnvFile = Annotated[Path | None, typer.Option(help="Lines of NAME=value, such as a .env file.")]
Port = Annotated[
    list[int] | None, typer.Option("--port", "-p", help="To be reached; may be given again.")
]
Volume = Annotated[
    list[str] | None,
    typer.Option("--volume", "-v", help="NAME:/path or NAME:/path:GiB for a new one."),
]
Gpus = Annotated[int, typer.Option(min=1, max=16, help="How many GPUs.")]
Gpu = Annotated[str | None, typer.Option(help="Only this GPU, such as H100.")]
MinVram = Annotated[int, typer.Option(min=0, help="GiB of each GPU.")]
Simulated = Annotated[bool, typer.Option("--simulated", help="A GPU that only pretends will do.")]
Disk = Annotated[int | None, typer.Option(min=1, help="GiB of the container itself.")]
Ssh = Annotated[bool, typer.Option(help="A shell may be opened in it.")]
Secret = Annotated[list[str] | None, typer.Option(help="Give it this secret; may be given again.")]
Registry = Annotated[str | None, typer.Option(help="Credentials of a private image.")]
MaxPrice = Annotated[str | None, typer.Option(help="Most dollars a GPU-hour.")]
Budget = Annotated[str | None, typer.Option(help="Dollars in all; then it stops.")]
MaxDuration = Annotated[int | None, typer.Option(min=60, help="Seconds; then it stops.")]
Region = Annotated[list[str] | None, typer.Option(help="Only in this region.")]
Clouds = Annotated[bool, typer.Option("--clouds", help="It may run at a cloud, without our agent.")]
Secure = Annotated[bool, typer.Option("--secure", help="Only in data centres.")]


def create(
    image: Image,
    arguments: Arguments = None,
    name: Name = None,
    command: Command = None,
    env: Env = None,
    env_file: EnvFile = None,
    port: Port = None,
    volume: Volume = None,
    gpus: Gpus = 1,
    gpu: Gpu = None,
    min_vram: MinVram = 0,
    simulated: Simulated = False,
    disk: Disk = None,
    ssh: Ssh = True,
    secret: Secret = None,
    registry: Registry = None,
    max_price: MaxPrice = None,
    budget: Budget = None,
    max_duration: MaxDuration = None,
    region: Region = None,
    secure: Secure = False,
    clouds: Clouds = False,
    wait: Wait = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Run an image on GPUs and wait until it runs."""
    body = given(
        image=image,
        gpus=given(count=gpus, name=gpu, min_vram_gib=min_vram, simulated=simulated),
        ssh=ssh,
        name=name,
        command=command,
        arguments=arguments,
        env=_variables(env or [], env_file) or None,
        ports=port,
        volumes=[_mount(text) for text in volume or []] or None,
        disk_gib=disk,
        secrets=secret,
        registry_id=registry,
        max_price_usd_per_gpu_hour=max_price,
        budget_usd=budget,
        max_duration_seconds=max_duration,
        regions=region,
        secure=secure or None,
        clouds=clouds or None,
    )
    _send(body, wait=wait, brain_url=brain_url, json=json)


def _send(body: dict[str, Any], *, wait: bool, brain_url: str | None, json: bool) -> None:
    with connect(brain_url) as brain:
        made = brain.post(URL, body, key=uuid.uuid4().hex)
        if not json:
            console.print(f"[bold]{cell(made['name'])}[/] is {made['pod_id']}.")
        if wait:
            made = follow(brain, made["pod_id"], "running", quiet=json)
    if json:
        show_json(made)
    else:
        say_addresses(made)


def _variables(given: list[str], file: Path | None) -> dict[str, str]:
    lines = [] if file is None else _lines(file)
    found = {}
    for text in [*lines, *given]:
        name, equals, value = text.partition("=")
        if not equals:
            raise CliError(f"{name[:40]!r} has no value.", "Write it as NAME=value.")
        found[name.strip()] = value
    return found


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as failed:
        raise CliError(f"{file} cannot be read: {failed}.") from None
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _mount(text: str) -> dict[str, Any]:
    parts = text.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and not parts[2].isdigit()):
        raise CliError(f"{text[:60]!r} is no volume.", "Write NAME:/path, or NAME:/path:GiB.")
    named = "volume_id" if parts[0].startswith("vol_") else "name"
    mount: dict[str, Any] = {named: parts[0], "path": parts[1]}
    return mount | ({"size_gib": int(parts[2])} if len(parts) == 3 else {})
