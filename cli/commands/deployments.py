"""deploy, deployments, stop: models at work."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from cli.commands.common import (
    BrainUrl,
    Json,
    Limit,
    connect,
    find_deployment,
    given,
    listed,
    looks,
)
from cli.commands.deploy_options import (
    Arguments,
    AtOnce,
    Budget,
    DownAfter,
    DrainSeconds,
    GpuName,
    IdleStop,
    InFlight,
    Least,
    MaxDuration,
    MaxPrice,
    Most,
    Prefer,
    Quantisation,
    Regions,
    SecretNames,
    Tokens,
    ZeroAfter,
)
from cli.commands.models import show_why
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, show_json, state, table, when

app = typer.Typer(
    no_args_is_help=True,
    help="Deployments: list, show, why, events, start, stop, scale, update, delete.",
)

Named = Annotated[str, typer.Argument(help="The deployment's id or name.")]
Wait = Annotated[bool, typer.Option(help="Return once it is so.")]
WAIT_SECONDS_MAX = 900.0
ENDED = ("stopped", "failed")


def deploy(
    model: Annotated[str, typer.Argument(help="A model of the catalog.")],
    name: Annotated[str | None, typer.Option(help="What clients write as the model.")] = None,
    quantisation: Quantisation = None,
    replicas: Annotated[int, typer.Option(min=1, max=64, help="How many workers.")] = 1,
    max_price: MaxPrice = None,
    gpu: GpuName = None,
    context: Tokens = None,
    concurrency: AtOnce = None,
    region: Regions = None,
    spot: Annotated[bool, typer.Option("--spot", help="It may be taken away any time.")] = False,
    secure: Annotated[bool, typer.Option("--secure", help="Only in data centres.")] = False,
    prefer: Prefer = None,
    budget: Budget = None,
    max_duration: MaxDuration = None,
    idle_stop: IdleStop = None,
    secret: SecretNames = None,
    argument: Arguments = None,
    drain_seconds: DrainSeconds = None,
    least: Least = None,
    most: Most = None,
    target_in_flight: InFlight = None,
    scale_down_after: DownAfter = None,
    scale_to_zero_after: ZeroAfter = None,
    pool: Annotated[bool, typer.Option("--pool", help="Into the shared pool (admins).")] = False,
    wait: Wait = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Deploy a model and wait until it is ready."""
    body = given(
        model=model,
        replicas=replicas,
        name=name,
        quantisation=quantisation,
        max_price_usd_per_gpu_hour=max_price,
        gpu=gpu,
        context=context,
        concurrency=concurrency,
        regions=region,
        spot=spot or None,
        secure=secure or None,
        prefer=prefer,
        budget_usd=budget,
        max_duration_seconds=max_duration,
        idle_stop_seconds=idle_stop,
        secrets=secret,
        arguments=argument,
        drain_seconds=drain_seconds,
        min_replicas=least,
        max_replicas=most,
        target_in_flight=target_in_flight,
        scale_down_after_seconds=scale_down_after,
        scale_to_zero_after_seconds=scale_to_zero_after,
        pool=pool or None,
    )
    _make(body, wait=wait, brain_url=brain_url, json=json)


def stop(
    deployment: Named, wait: Wait = True, brain_url: BrainUrl = None, json: Json = False
) -> None:
    """Stop a deployment: requests in flight end first, then its GPUs are given back."""
    with connect(brain_url) as brain:
        found = brain.post(f"/api/v1/deployments/{find_deployment(brain, deployment)}/stop")
        if wait:
            found = _follow(brain, found["deployment_id"], "stopped", quiet=json)
    if json:
        show_json(found)
    else:
        console.print(f"{cell(found['name'])} is {state(found['state'])}.")


def start(
    deployment: Named, wait: Wait = True, brain_url: BrainUrl = None, json: Json = False
) -> None:
    """Start a stopped deployment again."""
    with connect(brain_url) as brain:
        found = brain.post(f"/api/v1/deployments/{find_deployment(brain, deployment)}/start")
        if wait and found["replicas"]:  # else it sleeps until it is scaled
            found = _follow(brain, found["deployment_id"], "running", quiet=json)
    if json:
        show_json(found)
    else:
        console.print(f"{cell(found['name'])} is {state(found['state'])}.")


app.command("start")(start)
app.command("stop")(stop)


@app.command("list")
def list_deployments(
    pool: Annotated[bool, typer.Option("--pool", help="The shared pool's (admins).")] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """The account's deployments, newest first."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/deployments", limit, pool=pool or None)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "model", "state", ">replicas", "made"],
        [
            [
                d["deployment_id"],
                f"[bold]{cell(d['name'])}[/]",
                cell(d["model"]),
                state(d["state"]),
                f"{d['ready_replicas']}/{d['replicas']}",
                when(d["created_at"]),
            ]
            for d in found
        ],
        empty="Nothing is deployed. Try: ganglion deploy ganglion/stand-in",
    )


@app.command("show")
def show(deployment: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """One deployment: its replicas with states, times and reasons."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/deployments/{find_deployment(brain, deployment)}")
    if json:
        show_json(found)
        return
    facts(
        {
            "deployment": found["deployment_id"],
            "name": f"[bold]{cell(found['name'])}[/]",
            "model": cell(found["model"]),
            "state": state(found["state"])
            + (f" [red]{cell(found['broken_reason'])}[/]" if found["broken_reason"] else ""),
            "replicas": f"{found['ready_replicas']} of {found['replicas']} ready",
            "scaled": _bounds(found),
            "made for": f"{found['context']:,} tokens x {found['concurrency']} at once",
            "most a GPU-hour": dollars(found["max_price_usd_per_gpu_hour"]),
            "secrets": ", ".join(found["secrets"]) or "-",
            "revision": _rollout(found["rollout"]),
        }
    )
    table(
        "\nReplicas",
        ["replica", ">rev", "state", "since", "node", "lease", "reason"],
        [
            [
                r["replica_id"],
                str(r["revision"]),
                state(r["state"]),
                when(r["since"]),
                cell(r["node_id"]),
                cell(r["lease_id"]),
                cell(r["waiting_reason"] or r["reason"]),
            ]
            for r in found["replica_list"]
        ],
        empty="It has no replicas.",
    )


def _bounds(found: dict[str, Any]) -> str:
    """Who decides how many replicas there are."""
    if not found["max_replicas"]:
        return "by its owner"
    said = f"{found['min_replicas']} to {found['max_replicas']} by its load, "
    said += f"{found['target_in_flight']} requests in flight on each"
    idle = found["scale_to_zero_after_seconds"]
    return said + (f", asleep after {idle} idle s" if idle else "")


def _rollout(told: dict[str, Any]) -> str:
    """The revision and how far it is, in one line."""
    said = f"{told['revision']} ({told['state'].replace('_', ' ')})"
    if told["state"] in ("rolling", "rolling_back"):
        said += f": {told['ready']} of {told['updated']} new ready, {told['old']} old go on"
    return said + (f" [red]{cell(told['reason'])}[/]" if told["reason"] else "")


@app.command("why")
def why(deployment: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Where it was placed and why not elsewhere, or why it waits."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/deployments/{find_deployment(brain, deployment)}/why")
    show_json(found) if json else show_why(found)


@app.command("events")
def events(
    deployment: Named, brain_url: BrainUrl = None, json: Json = False, limit: Limit = 100
) -> None:
    """What happened, the oldest first."""
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}/events"
        found = listed(brain, path, limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["at", "what", "reason", "replica"],
        [[when(e["at"]), cell(e["what"]), cell(e["reason"]), cell(e["replica_id"])] for e in found],
    )


@app.command("scale")
def scale(
    deployment: Named,
    replicas: Annotated[
        int | None, typer.Argument(min=0, max=64, help="0 puts it to sleep.", show_default=False)
    ] = None,
    least: Least = None,
    most: Most = None,
    target_in_flight: InFlight = None,
    scale_down_after: DownAfter = None,
    scale_to_zero_after: ZeroAfter = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Ask for a number of replicas, or with --max for bounds within which its load decides."""
    body = given(
        replicas=replicas,
        min_replicas=least,
        max_replicas=most,
        target_in_flight=target_in_flight,
        scale_down_after_seconds=scale_down_after,
        scale_to_zero_after_seconds=scale_to_zero_after,
    )
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}/scale"
        found = brain.post(path, body)
    if json:
        show_json(found)
    elif found["max_replicas"]:
        bounds = f"{found['min_replicas']} to {found['max_replicas']}"
        console.print(f"{cell(found['name'])}: {bounds} replica(s), as its load needs.")
    else:
        console.print(f"{cell(found['name'])}: {found['replicas']} replica(s) asked for.")


@app.command("delete")
def delete(deployment: Named, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Put a stopped deployment away."""
    with connect(brain_url) as brain:
        deployment_id = find_deployment(brain, deployment)
        brain.delete(f"/api/v1/deployments/{deployment_id}")
    if json:
        show_json({"deployment_id": deployment_id, "deleted": True})
    else:
        console.print(f"{deployment_id} is put away.")


def _make(body: dict[str, Any], *, wait: bool, brain_url: str | None, json: bool) -> None:
    """Ask for a deployment, follow it, and say how it is used."""
    with connect(brain_url) as brain:
        made = brain.post("/api/v1/deployments", body, key=uuid.uuid4().hex)
        if not json:
            console.print(f"[bold]{cell(made['name'])}[/] is {made['deployment_id']}.")
        if wait:
            made = _follow(brain, made["deployment_id"], "running", quiet=json)
    if json:
        show_json(made)
    elif wait:
        gateway = _gateway()
        console.print(f"Ready: use [bold]{cell(made['name'])}[/] as the model at {gateway}/v1")


def _follow(brain: Any, deployment_id: str, wanted: str, *, quiet: bool) -> Any:
    """Wait for a state, telling each change of a replica; an error when it cannot come."""
    told: dict[str, str] = {}
    ended: set[str] | None = None  # before we looked: no news
    for seconds, found in looks(brain, f"/api/v1/deployments/{deployment_id}", WAIT_SECONDS_MAX):
        if ended is None:
            ended = {r["replica_id"] for r in found["replica_list"] if r["state"] in ENDED}
        for replica in found["replica_list"]:
            if replica["replica_id"] in ended:
                continue
            said = f"{replica['state']}: {replica['waiting_reason'] or replica['reason']}"
            if not quiet and told.get(replica["replica_id"]) != said:
                told[replica["replica_id"]] = said
                console.print(
                    f"[dim]{seconds:6.1f} s{_which(replica, found)}[/]  {state(replica['state'])}  "
                    f"{cell(replica['waiting_reason'] or replica['reason'])}"
                )
        if found["state"] == wanted:
            return found
        if found["broken_reason"] and wanted == "running":
            raise CliError(
                f"{found['name']} cannot become ready: {found['broken_reason']}",
                f"ganglion deployments why {deployment_id} and ganglion logs {deployment_id} "
                "say more.",
            )
    raise CliError(
        f"{found['name']} is {found['state']}, not {wanted}, after {seconds:.0f} s.",
        f"Look at: ganglion deployments why {deployment_id}",
        code="timeout",
    )


def _which(replica: Any, found: Any) -> str:
    """The end of its id, as logs show it, where there are several."""
    return f" {replica['replica_id'][-6:]}" if len(found["replica_list"]) > 1 else ""


def _gateway() -> str:
    from cli.commands.common import LOCAL_GATEWAY, saved

    return saved()[1].gateway_url or LOCAL_GATEWAY
