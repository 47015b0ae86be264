"""The end of a demo: requests settled, receipts recomputed here, the books' proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli.client import Brain, Refused
from cli.demo.calls import Call
from cli.demo.story import Story
from cli.faults import CliError
from kernel.clock import NS, Clock
from kernel.money import Money
from kernel.receipt import recompute

SETTLED_SECONDS_MAX = 150.0
FINAL_SECONDS_MAX = 60.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Payer:
    """Who made which calls."""

    who: str
    brain: Brain
    calls: tuple[Call, ...]


async def settled(payer: Payer, clock: Clock) -> list[dict[str, Any]]:
    """The receipts of an account's calls, once each is settled."""
    deadline = clock.monotonic_ns() + int(SETTLED_SECONDS_MAX * NS)
    while True:
        found = [_receipt(payer.brain, call.request_id) for call in payer.calls]
        ready = [receipt for receipt in found if receipt is not None and receipt["settled"]]
        if len(ready) == len(payer.calls):
            return ready
        if clock.monotonic_ns() > deadline:
            raise CliError(
                f"{len(payer.calls) - len(ready)} of {len(payer.calls)} requests were not settled "
                f"within {SETTLED_SECONDS_MAX:.0f} s."
            )
        await clock.sleep(POLL_SECONDS)


def _receipt(brain: Brain, request_id: str) -> dict[str, Any] | None:
    """None while the gateway has not yet told of it."""
    try:
        found: dict[str, Any] = brain.get(f"/api/v1/receipts/{request_id}")
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    return found


def tell_requests(story: Story, payer: Payer, receipts: list[dict[str, Any]]) -> None:
    rows = []
    for call, receipt in zip(payer.calls, receipts, strict=True):
        rows.append(
            [
                receipt["request_id"],
                call.what,
                receipt["share"]["gpu_seconds"],
                receipt["cost"]["usd"],
                verified(receipt),
            ]
        )
    story.table(["request", "call", ">GPU-seconds", ">cost", "recomputed here"], rows)
    for sentence in receipts[-1]["explanation"]:
        story.tell(sentence)
    tell_ledger(story, [booking for receipt in receipts for booking in receipt["ledger"]])


def verified(receipt: dict[str, Any]) -> str:
    """How the customer's own recomputation of a receipt came out. Raises when it is wrong."""
    verdict = recompute(receipt)
    if not verdict.ok:
        wrong = ", ".join(check.name for check in verdict.wrong) or "no figure to check"
        raise CliError(f"A receipt does not add up: {wrong}.")
    return f"all {len(verdict.checks)} figures right"


def tell_ledger(story: Story, bookings: list[dict[str, Any]]) -> None:
    """Each booking once, in one line: who gave and who got."""
    told = set()
    for booking in bookings:
        if booking["id"] in told:
            continue
        told.add(booking["id"])
        parts = [_entry(entry) for entry in booking["entries"]]
        story.tell(f"ledger: {booking['kind']}: {', '.join(parts)}")


def _entry(entry: dict[str, Any]) -> str:
    if entry["asset"] == "USD":
        return f"{entry['account']} {Money(entry['amount'])}"
    return f"{entry['account']} {entry['amount']:,} {entry['asset']}"


async def final(brain: Brain, lease_id: str, clock: Clock) -> dict[str, Any]:
    """The bill of a lease once nothing can be added to it."""
    deadline = clock.monotonic_ns() + int(FINAL_SECONDS_MAX * NS)
    while True:
        found: dict[str, Any] = brain.get(f"/api/v1/receipts/lease/{lease_id}")
        if found["final"]:
            return found
        if clock.monotonic_ns() > deadline:
            raise CliError(f"The bill of {lease_id} was not final after {FINAL_SECONDS_MAX:.0f} s.")
        await clock.sleep(POLL_SECONDS)


def tell_lease(story: Story, bill: dict[str, Any]) -> None:
    rows = [[name, f"{ns / NS:.9f}"] for name, ns in bill["buckets"].items()]
    story.table(["bucket", ">GPU-seconds"], [*rows, ["sum", f"{_sum(bill) / NS:.9f}"]])
    capacity = bill["gpus"] * (bill["closed_ns"] - bill["opened_ns"])
    story.tell(f"capacity: {capacity / NS:.9f} GPU-seconds; the buckets sum to it exactly")
    story.tell(f"final bill: {bill['billed_usd']}; {verified(bill)}")
    tell_ledger(story, bill["ledger"])
    if _sum(bill) != capacity:
        raise CliError("The buckets do not sum to the capacity.")


def tell_proofs(story: Story, proofs: list[dict[str, Any]]) -> None:
    for proof in proofs:
        mark = "[green]✓[/]" if proof["holds"] else "[red]✗[/]"
        story.mark(f"{mark} {proof['law']} [dim]({proof['count']:,} looked at)[/]")
    broken = [proof["name"] for proof in proofs if not proof["holds"]]
    if broken or not proofs:
        raise CliError(f"The books are not right: {', '.join(broken) or 'no proof was made'}.")


def _sum(bill: dict[str, Any]) -> int:
    return sum(bill["buckets"].values())
