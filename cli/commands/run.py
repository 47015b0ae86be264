"""up, status, doctor, demo: the whole product on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.common import Json
from cli.output import cell, console, facts, show_json, state, table

if TYPE_CHECKING:
    from cli.settings import RunnerSettings
    from cli.supervisor.start import Ready

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Where data lie (GANGLION_HOME; .ganglion).")
]
BrainPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="0: a free one (BRAIN_PORT; 8000).")
]
GatewayPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="0: a free one (GATEWAY_PORT; 8080).")
]


def up(
    home: HomeOption = None,
    brain_port: BrainPort = None,
    gateway_port: GatewayPort = None,
    simulate_gpus: Annotated[
        int | None, typer.Option(min=0, max=64, help="Pretend so many (default: 4 if none real).")
    ] = None,
    node: Annotated[bool, typer.Option(help="Start a node agent on this machine too.")] = True,
    json: Json = False,
) -> None:
    """Start everything here and keep it running; Ctrl-C stops it."""
    import asyncio
    import sys

    from cli.supervisor.display import Display
    from cli.supervisor.up import Supervisor
    from kernel.clock import SystemClock

    settings = _settings(
        ganglion_home=home,
        brain_port=brain_port,
        gateway_port=gateway_port,
        simulate_gpus=simulate_gpus,
        local_node=None if node else False,
    )
    from cli.output import errors

    clock = SystemClock()
    display = Display(errors if json else console, clock)

    async def run() -> int:
        supervisor = Supervisor(settings, display, clock)
        return await supervisor.run(show_json_ready if json else show_ready)

    sys.exit(asyncio.run(run()))


def _settings(**given: Any) -> RunnerSettings:
    from cli import settings

    chosen = {name: value for name, value in given.items() if value is not None}
    return settings.load().model_copy(update=chosen)


def curl_line(gateway_url: str, key: str, model: str) -> str:
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return (
        f"curl {gateway_url}/v1/chat/completions -H 'Authorization: Bearer {key}'"
        f" -H 'Content-Type: application/json' -d '{body}'"
    )


def show_ready(ready: Ready) -> None:
    from cli.supervisor.environment import STAND_IN

    layout = ready.layout
    gpus = "no node here"
    if ready.node is not None:
        names = [gpu["name"] for gpu in ready.node["gpus"]]
        real = "[yellow]SIMULATED[/] GPU(s)" if ready.simulated else "GPU(s)"
        gpus = f"{len(names)} {real}: {cell(names[0] if names else '-')}"
    console.print(f"\n[bold green]Ganglion is up[/] [dim]({ready.seconds:.1f} s)[/]\n")
    facts(
        {
            "brain": f"{layout.brain_url}  [dim](the API is described at /docs)[/]",
            "gateway": f"{layout.gateway_url}/v1  [dim](for OpenAI clients)[/]",
            "pods": f"http://<pod>-<port>.localhost:{layout.front_port}"
            f"  ssh <pod>@localhost -p {layout.ssh_port}",
            "node": gpus,
            "account": f"{ready.demo.email} with {ready.demo.credits:,} credits",
            "API key": f"[bold]{ready.demo.key}[/]",
            "data, logs": str(layout.home),
        }
    )
    console.print("\nTry it:\n")
    # Not through rich: a line to be copied is not wrapped or coloured.
    print(curl_line(layout.gateway_url, ready.demo.key, STAND_IN), flush=True)
    if shutil.which("curl") is None:
        console.print("\nThis machine has no curl: `make demo` does the whole job without it.")
    console.print("\n[dim]Ctrl-C stops it.[/]")


def show_json_ready(ready: Ready) -> None:
    import sys

    from cli.supervisor.environment import STAND_IN

    layout = ready.layout
    show_json(
        {
            "brain_url": layout.brain_url,
            "gateway_url": layout.gateway_url,
            "pod_front_port": layout.front_port,
            "ssh_port": layout.ssh_port,
            "email": ready.demo.email,
            "api_key": ready.demo.key,
            "credits": ready.demo.credits,
            "model": STAND_IN,
            "pool_deployment_id": ready.pool,
            "node_id": ready.node["node_id"] if ready.node else None,
            "simulated_gpus": ready.simulated,
            "home": str(layout.home),
            "seconds": round(ready.seconds, 3),
            "curl": curl_line(layout.gateway_url, ready.demo.key, STAND_IN),
        }
    )
    sys.stdout.flush()


def status(home: HomeOption = None, json: Json = False) -> None:
    """What runs here, and how it is."""
    from cli.faults import CliError
    from cli.supervisor.look import look

    found = look(_settings(ganglion_home=home))
    if json:
        show_json(found)
    else:
        _show_status(found)
    if not found["running"]:
        raise CliError(
            f"Nothing runs on {found['home']}.", "Start it with: ganglion up", code="not_running"
        )


def _show_status(found: dict[str, Any]) -> None:
    if not found["running"]:
        return
    console.print(f"Ganglion is [green]{found['phase']}[/] [dim](process {found['pid']})[/]")
    facts({"brain": found["brain_url"], "gateway": found["gateway_url"], "home": found["home"]})
    table(
        "\nParts",
        ["part", "state", ">process", ">starts", "log"],
        [
            [p["name"], state(p["state"]), str(p["pid"] or "-"), str(p["starts"]), cell(p["log"])]
            for p in found["parts"]
        ],
    )
    table(
        "\nDependencies of the brain",
        ["name", "state", ">ms", "detail"],
        [
            [d["name"], state("ok" if d["ok"] else "failed"), str(d["milliseconds"]), d["detail"]]
            for d in found["dependencies"]
        ],
        empty="The brain does not answer.",
    )


def doctor(home: HomeOption = None, json: Json = False) -> None:
    """Look at this machine and the settings, and say what to mend."""
    import sys

    from cli.supervisor.doctor import examine

    findings = examine(_settings(ganglion_home=home))
    if json:
        show_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            mark = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "fault": "[red]✗[/]"}[
                finding.level
            ]
            console.print(f"{mark} {finding.subject:<16} {cell(finding.sentence)}", soft_wrap=True)
            if finding.advice and finding.level != "ok":
                console.print(f"  {'':<16} [dim]{cell(finding.advice)}[/]", soft_wrap=True)
    if any(finding.level == "fault" for finding in findings):
        sys.exit(1)


def demo(
    engine: Annotated[
        str, typer.Option(help="stand-in, or vllm: real vLLM on the CPU (after: make parts).")
    ] = "stand-in",
    json: Json = False,
) -> None:
    """The main job from end to end, with times, receipts and proofs."""
    import sys

    from cli.demo.run import run_demo

    sys.exit(run_demo(engine=engine, json=json))
