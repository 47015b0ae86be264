"""usage, receipt: what was used, what it cost, and the proof that both are right."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, find_deployment, listed
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, seconds, show_json, table

Verify = Annotated[
    bool, typer.Option("--verify", help="Recompute every figure here, from the receipt alone.")
]
GPU_NS = 1e9


def usage(
    deployment: Annotated[
        str | None, typer.Option(help="Only requests to this deployment (id or name).")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """The account's requests, newest first, with GPU time and cost."""
    with connect(brain_url) as brain:
        wanted = find_deployment(brain, deployment) if deployment else None
        found = listed(brain, "/api/v1/usage", limit, deployment=wanted)
    if json:
        show_json(found)
        return
    table(
        "",
        ["request", "at", "model", "paid", ">status", ">tokens", ">GPU-s", ">cost", "settled"],
        [
            [
                u["request_id"],
                _at(u["at_ns"]),
                cell(u["model"]),
                "a share" if u["mode"] == "pool" else "by the lease",
                str(u["status"]),
                f"{u['prompt_tokens']} + {u['completion_tokens']}",
                u["gpu_seconds"],
                dollars(u["cost_usd"]),
                "yes" if u["settled"] else "[yellow]not yet[/]",
            ]
            for u in found
        ],
        empty="No requests yet.",
    )


def receipt(
    what: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST|LEASE|VOLUME|DEPLOYMENT|FILE",
            help="req_…, lease_…, vol_…, a deployment's id or name, or a receipt saved as a file.",
        ),
    ],
    verify: Verify = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """What a request, a lease or a deployment cost and why; --json holds all to recompute it."""
    found = _fetch(what, brain_url)
    checks = _verified(found) if verify else []
    if json:
        show_json({**found, "verified": _as_json(checks)} if verify else found)
    else:
        show_receipt(found)
        if verify:
            _show_checks(checks)
    if any(not check.ok for check in checks):
        sys.exit(1)


def _fetch(what: str, brain_url: str | None) -> dict[str, Any]:
    place = Path(what)
    if place.suffix == ".json" or what == "-":
        try:
            text = sys.stdin.read() if what == "-" else place.read_text()
            loaded = json_text.loads(text)
        except (OSError, ValueError) as problem:
            raise CliError(f"{what} cannot be read as a receipt: {problem}.") from None
        if not isinstance(loaded, dict):
            raise CliError(f"{what} does not hold a receipt.")
        return loaded
    with connect(brain_url) as brain:
        if what.startswith("req_"):
            found: dict[str, Any] = brain.get(f"/api/v1/receipts/{what}")
        elif what.startswith("vol_"):
            found = brain.get(f"/api/v1/receipts/volume/{what}")
        elif what.startswith("lease_"):
            found = brain.get(f"/api/v1/receipts/lease/{what}")
        else:
            deployment = find_deployment(brain, what)
            found = brain.get(f"/api/v1/receipts/deployment/{deployment}")
    return found


def show_receipt(found: dict[str, Any]) -> None:
    """A receipt of any kind, for people."""
    kind = found.get("kind")
    if kind == "request":
        _show_request(found)
    elif kind == "lease":
        _show_lease(found)
    elif kind == "volume":
        _show_volume(found)
    elif kind == "deployment":
        for lease in found["leases"]:
            _show_lease(lease)
        console.print(f"\n[bold]Billed: {dollars(found['billed_usd'])}[/]")
    else:
        raise CliError("This is not a receipt of a kind that this version knows.")


def _show_request(found: dict[str, Any]) -> None:
    console.print(f"[bold]Receipt of {cell(found['request_id'])}[/]")
    facts(
        {
            "model": cell(found["model"]),
            "share": f"{found['share']['gpu_seconds']} GPU-seconds",
            "cost": f"[bold]{dollars(found['cost']['usd'])}[/]",
            "settled": found["settled"],
        }
    )
    for sentence in found["explanation"]:
        console.print(f"  {cell(sentence)}")
    table(
        "\nSegments, as the gateway counted them",
        [">number", ">resident", ">weight", "end", ">ticks"],
        [
            [
                str(s["number"]),
                seconds(s["end_ns"] - s["start_ns"]),
                str(s["weight"]),
                cell(s["end"]),
                f"{s['settled_ticks']:,}",
            ]
            for s in found["segments"]
        ],
    )
    table(
        "\nWindows, shared with whatever ran beside it",
        [">GPUs", ">busy", ">spans", ">ticks of this request"],
        [
            [str(w["gpus"]), seconds(w["busy_ns"]), str(len(w["spans"])), f"{w['ticks']:,}"]
            for w in found["windows"]
        ],
        empty="Its windows are still open.",
    )
    show_ledger(found["ledger"])


def _show_lease(found: dict[str, Any]) -> None:
    console.print(f"[bold]Bill of {cell(found['lease_id'])}[/]")
    facts(
        {
            "for": cell(found["deployment_id"]),
            "billed": f"[bold]{dollars(found['billed_usd'])}[/]"
            + ("" if found["final"] else " [yellow](not final)[/]"),
        }
    )
    for sentence in found["explanation"]:
        console.print(f"  {cell(sentence)}")
    if found["buckets"]:
        whole = sum(found["buckets"].values()) or 1
        table(
            "\nEvery GPU-nanosecond in exactly one bucket",
            ["bucket", ">GPU-seconds", ">part"],
            [
                [name, f"{ns / GPU_NS:.9f}", f"{100 * ns / whole:.1f} %"]
                for name, ns in found["buckets"].items()
            ],
        )
    show_ledger(found["ledger"])


def _show_volume(found: dict[str, Any]) -> None:
    console.print(f"[bold]Bill of {cell(found['volume_id'])}: {dollars(found['billed_usd'])}[/]")
    for sentence in found["explanation"]:
        console.print(f"  {cell(sentence)}")
    from kernel.money import Money

    table(
        "\nStretches",
        ["from", "until", ">GiB", ">a GiB-hour", ">charged"],
        [
            [
                _at(b["from_ns"]),
                _at(b["until_ns"]),
                str(b["gib"]),
                str(Money(b["price_nano"])),
                str(Money(b["charge_nano"])),
            ]
            for b in found["bills"]
        ],
    )
    show_ledger(found["ledger"])


def show_ledger(ledger: list[Any]) -> None:
    """Journal transactions with their entries; each sums to zero an asset."""
    from kernel.money import Money

    rows = []
    for booking in ledger:
        for entry in booking["entries"]:
            amount = (
                str(Money(entry["amount"]))
                if entry["asset"] == "USD"
                else f"{entry['amount']:,} {cell(entry['asset'])}"
            )
            rows.append([cell(booking["kind"]), cell(entry["account"]), amount])
    table("\nLedger entries", ["booking", "account", ">amount"], rows, empty="\nNothing is booked.")


def _verified(found: dict[str, Any]) -> list[Any]:
    from kernel.errors import BadInput
    from kernel.receipt import recompute

    try:
        return list(recompute(found).checks)
    except BadInput as wrong:
        raise CliError(wrong.detail) from None


def _as_json(checks: list[Any]) -> dict[str, Any]:
    return {"ok": bool(checks) and all(c.ok for c in checks), "checks": [vars(c) for c in checks]}


def _show_checks(checks: list[Any]) -> None:
    wrong = [check for check in checks if not check.ok]
    for check in wrong:
        console.print(
            f"[red]✗[/] {cell(check.name)}: it says {check.stated}, recomputed {check.computed}"
        )
    if wrong:
        console.print(f"[bold red]{len(wrong)} of {len(checks)} figures are wrong.[/]")
    else:
        console.print(f"[green]✓[/] Recomputed here: all {len(checks)} figures are right.")


def _at(ns: int) -> str:
    from datetime import UTC, datetime

    from cli.output import when

    return when(datetime.fromtimestamp(ns // 1_000_000_000, UTC).isoformat())
