"""pod: any image on a GPU, with ports, a shell and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed, pause
from cli.commands.models import show_why
from cli.commands.pod_common import URL, Named, Wait, path_of, say_addresses
from cli.commands.pod_common import follow as follow_state
from cli.commands.pod_create import create
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, show_json, show_json_line, state, table, when

if TYPE_CHECKING:
    from cli.client import Brain

app = typer.Typer(
    no_args_is_help=True, help="Pods: create, list, show, start, stop, delete, logs, ssh, url."
)

FOLLOW_SECONDS = 1.0

app.command("create")(create)


@app.command("list")
def list_pods(
    ended: Annotated[bool, typer.Option("--all", help="Terminated ones as well.")] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """The account's pods, newest first."""
    with connect(brain_url) as brain:
        found = listed(brain, URL, limit, ended="true" if ended else None)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "slug", "image", "state", "node", ">an hour", ">so far", "made"],
        [
            [
                p["pod_id"],
                f"[bold]{cell(p['name'])}[/]",
                cell(p["slug"]),
                cell(p["image"]),
                state(p["state"]),
                cell(p["run"]["node_id"] if p["run"] and p["reachable"] else None),
                dollars(p["cost_usd_per_hour"]),
                dollars(p["cost_usd"]),
                when(p["created_at"]),
            ]
            for p in found
        ],
        empty="There are no pods. Try: ganglion pod create ubuntu:24.04 sleep infinity",
    )


@app.command("show")
def show(pod: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """One pod: state, addresses, volumes, what it costs."""
    with connect(brain_url) as brain:
        found = brain.get(path_of(pod))
    if json:
        show_json(found)
        return
    run = found["run"] or {}
    price = run.get("price_usd_per_gpu_hour")
    facts(
        {
            "pod": found["pod_id"],
            "name": f"[bold]{cell(found['name'])}[/]",
            "state": f"{state(found['state'])}  {cell(found['reason'])}",
            "image": cell(found["image"]),
            "agent": cell(f"none, at {found['cloud']}" if found["cloud"] else found["agent"]),
            "node": cell(run.get("node_id")),
            "since": when(run.get("since")),
            "GPUs": f"{found['gpus']} x {cell(found['gpu'] or 'any')}",
            "a GPU-hour": f"{dollars(price)}" if price else "-",
            "cost": f"{dollars(found['cost_usd'])} so far,"
            f" {dollars(found['cost_usd_per_hour'])} an hour,"
            f" volumes {dollars(found['storage_usd_per_hour'])} an hour",
            "variables": cell(", ".join(found["env"])),
            "secrets": cell(", ".join(found["secrets"])),
        }
    )
    say_addresses(found)
    if found["volumes"]:
        table(
            "\nVolumes",
            ["id", "name", "path", ">GiB", "state"],
            [
                [
                    m["volume_id"],
                    cell(m["name"]),
                    cell(m["path"]),
                    str(m["size_gib"]),
                    state(m["state"]),
                ]
                for m in found["volumes"]
            ],
        )


@app.command("start")
def start(pod: Named, wait: Wait = True, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Start a stopped pod again; its addresses and volumes are the same."""
    with connect(brain_url) as brain:
        found = brain.post(f"{path_of(pod)}/start")
        if wait:
            found = follow_state(brain, found["pod_id"], "running", quiet=json)
    if json:
        show_json(found)
    else:
        say_addresses(found)


@app.command("stop")
def stop(pod: Named, wait: Wait = True, brain_url: BrainUrl = None, json: Json = False) -> None:
    """End its container. Volumes and addresses stay; GPUs cost no more."""
    with connect(brain_url) as brain:
        _end(brain, brain.post(f"{path_of(pod)}/stop"), "stopped", wait=wait, json=json)


@app.command("delete")
def delete(
    pod: Named,
    volumes: Annotated[bool, typer.Option("--volumes", help="Its volumes go as well.")] = False,
    wait: Wait = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Terminate a pod for ever. Its volumes stay, unless --volumes is given."""
    with connect(brain_url) as brain:
        found = brain.delete(path_of(pod), delete_volumes="true" if volumes else None)
        _end(brain, found, "terminated", wait=wait, json=json)


def _end(brain: Brain, found: Any, wanted: str, *, wait: bool, json: bool) -> None:
    if wait:
        found = follow_state(brain, found["pod_id"], wanted, quiet=json)
    if json:
        show_json(found)
    else:
        console.print(f"{cell(found['name'])} is {state(found['state'])}.")


@app.command("logs")
def logs(
    pod: Named,
    tail: Annotated[int, typer.Option(min=1, max=1000, help="How many lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What its container wrote. With --json one document; followed, one a line."""
    with connect(brain_url) as brain:
        path = f"{path_of(pod)}/logs"
        if json and not follow:
            show_json(brain.get(path, tail=tail)["items"])
            return
        seen: dict[str, int] = {}
        while True:
            found = brain.get(path, tail=1000 if seen else tail)["items"]
            fresh = [one for one in found if one["number"] > seen.get(one["run_id"], -1)]
            seen |= {one["run_id"]: one["number"] for one in fresh}
            for line in fresh:
                show_json_line(line) if json else _print_line(line)
            if not follow:
                return
            pause(FOLLOW_SECONDS)


def _print_line(line: dict[str, Any]) -> None:
    console.print(f"[dim]{when(line['at'])}[/] {cell(line['text'])}", soft_wrap=True)


@app.command("events")
def events(pod: Named, brain_url: BrainUrl = None, json: Json = False, limit: Limit = 100) -> None:
    """What happened, the oldest first."""
    with connect(brain_url) as brain:
        found = listed(brain, f"{path_of(pod)}/events", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["at", "what", "reason"],
        [[when(e["at"]), cell(e["what"]), cell(e["reason"])] for e in found],
    )


@app.command("why")
def why(pod: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Where it was placed and why not elsewhere, or why it waits."""
    with connect(brain_url) as brain:
        found = brain.get(f"{path_of(pod)}/why")
    show_json(found) if json else show_why(found)


@app.command("stats")
def stats(pod: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """What its container and its GPUs use now."""
    with connect(brain_url) as brain:
        found = brain.get(f"{path_of(pod)}/stats")
    if json:
        show_json(found)
        return
    usage = found["usage"] or {}
    facts(
        {
            "state": state(found["state"]),
            "seen": when(found["seen_at"]),
            "CPU": f"{usage['cpu_percent']:.1f} %" if usage else "-",
            "memory": f"{usage['memory_used_mib']:,} MiB" if usage else "-",
            "network": _both(usage, "net_rx_bytes", "net_tx_bytes", "in", "out"),
            "disk": _both(usage, "block_read_bytes", "block_write_bytes", "read", "written"),
            "processes": usage.get("processes", "-"),
            "restarts": found["restarts"],
        }
    )
    if not found["gpus"]:
        return
    table(
        "",
        ["GPU", ">use", ">memory", ">power"],
        [
            [
                cell(g["name"]) + (" [yellow](simulated)[/]" if g["simulated"] else ""),
                "-" if g["utilisation_percent"] is None else f"{g['utilisation_percent']} %",
                f"{g['memory_used_mib']:,} of {g['memory_total_mib']:,} MiB",
                "-" if g["power_watts"] is None else f"{g['power_watts']:.0f} W",
            ]
            for g in found["gpus"]
        ],
    )


@app.command("url")
def url(
    pod: Named,
    port: Annotated[int | None, typer.Argument(help="Which; needed when it has several.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """The address of a port."""
    with connect(brain_url) as brain:
        found = brain.get(path_of(pod))
    if found["notice"]:
        raise CliError(found["notice"], f"Its addresses: ganglion pod show {found['name']}")
    ports = {one["port"]: one["url"] for one in found["ports"]}
    if not ports:
        raise CliError(f"{found['name']} has no ports.", "Name them when you create it: --port.")
    if port is None and len(ports) > 1:
        raise CliError(f"{found['name']} has ports {', '.join(map(str, ports))}.", "Name one.")
    chosen = port if port is not None else next(iter(ports))
    if chosen not in ports:
        raise CliError(
            f"{found['name']} has no port {chosen}.", f"It has {', '.join(map(str, ports))}."
        )
    if json:
        show_json({"port": chosen, "url": ports[chosen]})
    else:
        typer.echo(ports[chosen])


@app.command("ssh", context_settings={"ignore_unknown_options": True})
def ssh(
    pod: Named,
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this in place of a shell.")
    ] = None,
    show_only: Annotated[bool, typer.Option("--print", help="Only say what to type.")] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Open a shell in a pod, by this machine's own ssh."""
    import os

    with connect(brain_url) as brain:
        found = brain.get(path_of(pod))
    if found["notice"]:
        raise CliError(found["notice"], f"Its addresses: ganglion pod show {found['name']}")
    if not found["ssh"]:
        raise CliError(f"{found['name']} was made without a shell.", "Create it without --no-ssh.")
    if json:
        show_json({"ssh": found["ssh"], "ssh_keys": found["ssh_keys"]})
        return
    if show_only:
        typer.echo(found["ssh"])
        return
    if not found["ssh_keys"]:
        raise CliError(
            "Your account has no SSH key.", "Add one: ganglion ssh-key add ~/.ssh/id_ed25519.pub"
        )
    words = [*found["ssh"].split(), *(command or [])]
    try:
        os.execvp(words[0], words)  # noqa: S606
    except OSError:
        raise CliError("This machine has no ssh.", f"Type it elsewhere: {found['ssh']}") from None


def _both(usage: dict[str, Any], first: str, second: str, one: str, other: str) -> str:
    if not usage:
        return "-"
    return f"{usage[first] / 1e6:,.1f} MB {one}, {usage[second] / 1e6:,.1f} MB {other}"
