"""deployments update, rollback, revisions: what changes while it runs."""

from __future__ import annotations

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
    DrainSeconds,
    GpuName,
    IdleStop,
    MaxDuration,
    MaxPrice,
    Quantisation,
    SecretNames,
    Tokens,
)
from cli.faults import CliError
from cli.output import cell, console, show_json, table, when

Named = Annotated[str, typer.Argument(help="The deployment's id or name.")]
Wait = Annotated[bool, typer.Option(help="Return once the new workers have taken over.")]
WAIT_SECONDS_MAX = 3600.0


def add_to(app: typer.Typer) -> None:
    """These stand among the other verbs on deployments."""
    app.command("update")(update)
    app.command("rollback")(rollback)
    app.command("revisions")(revisions)


def update(
    deployment: Named,
    model: Annotated[str | None, typer.Option(help="Another model of the same kind.")] = None,
    quantisation: Quantisation = None,
    context: Tokens = None,
    concurrency: AtOnce = None,
    gpu: GpuName = None,
    max_price: MaxPrice = None,
    secret: SecretNames = None,
    no_secrets: Annotated[bool, typer.Option("--no-secrets", help="None at all.")] = False,
    argument: Arguments = None,
    max_surge: Annotated[
        int | None, typer.Option(min=0, max=16, help="Workers more than wanted at a time.")
    ] = None,
    max_unavailable: Annotated[
        int | None, typer.Option(min=0, max=16, help="Workers fewer than wanted at a time.")
    ] = None,
    deadline: Annotated[
        int | None, typer.Option(min=10, help="Seconds without progress until it goes back.")
    ] = None,
    drain_seconds: DrainSeconds = None,
    max_duration: MaxDuration = None,
    idle_stop: IdleStop = None,
    wait: Wait = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Change what runs: new workers take over one by one, and no request is lost."""
    body = given(
        model=model,
        quantisation=quantisation,
        context=context,
        concurrency=concurrency,
        gpu=gpu,
        max_price_usd_per_gpu_hour=max_price,
        secrets=[] if no_secrets else secret,
        arguments=argument,
        max_surge=max_surge,
        max_unavailable=max_unavailable,
        rollout_deadline_seconds=deadline,
        drain_seconds=drain_seconds,
        max_duration_seconds=max_duration,
        idle_stop_seconds=idle_stop,
    )
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}"
        _finish(brain, path, brain.patch(path, body), wait=wait, json=json)


def rollback(
    deployment: Named,
    revision: Annotated[
        int | None, typer.Option(min=1, help="Else the last good one.", show_default=False)
    ] = None,
    wait: Wait = True,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Go back to an earlier revision."""
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}"
        body = given(revision=revision)
        _finish(brain, path, brain.post(f"{path}/rollback", body), wait=wait, json=json)


def revisions(
    deployment: Named, brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50
) -> None:
    """What it was asked to run, the newest first, and what became of each."""
    with connect(brain_url) as brain:
        path = f"/api/v1/deployments/{find_deployment(brain, deployment)}/revisions"
        found = listed(brain, path, limit)
    if json:
        show_json(found)
        return
    table(
        "",
        [">revision", "asked", "outcome", "model", "made for", "arguments", "reason"],
        [
            [
                f"{r['revision']}{' *' if r['current'] else ''}",
                when(r["asked_at"]),
                cell(r["outcome"] or "under way"),
                cell(r["model"]),
                f"{r['context']:,} x {r['concurrency']}",
                cell(" ".join(r["arguments"])),
                cell(r["reason"]),
            ]
            for r in found
        ],
    )


def _finish(brain: Any, path: str, found: Any, *, wait: bool, json: bool) -> None:
    """Follow the rollout to its end where that is asked for, then tell."""
    asked = found["revision"]
    if wait and found["asked"] == "running" and found["replicas"]:
        found = _follow(brain, path, asked, quiet=json)
    if json:
        show_json(found)
    else:
        state = found["rollout"]["state"].replace("_", " ")
        console.print(f"{cell(found['name'])}: revision {found['revision']} ({state}).")


def _follow(brain: Any, path: str, asked: int, *, quiet: bool) -> Any:
    """Until the revision is complete; an error when it was given up, or takes too long."""
    told = ""
    for seconds, found in looks(brain, path, WAIT_SECONDS_MAX):
        rollout = found["rollout"]
        said = f"{rollout['ready']} new ready, {rollout['old']} old go on"
        if not quiet and said != told:
            told = said
            console.print(f"[dim]{seconds:6.1f} s[/]  revision {rollout['revision']}: {said}")
        if found["revision"] != asked:
            reason = rollout["reason"] or f"revision {found['revision']} was asked for since"
            raise CliError(reason, "ganglion deployments revisions tells more.", code="given_up")
        if rollout["state"] == "complete":
            return found
        if found["asked"] != "running":
            break
    raise CliError(
        f"The rollout is not complete: {said}.",
        f"Look at: ganglion deployments show {found['deployment_id']}",
        code="timeout",
    )
