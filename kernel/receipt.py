"""Recompute a receipt from the segments that stand in it: no database, no server, no trust.

A receipt is JSON as the brain's receipt routes answer it. Every figure that follows from others is
computed anew with ``kernel.gpu_time`` and ``kernel.money`` and compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kernel.errors import BadInput
from kernel.gpu_time import Shares, Span, share_window
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS

VERSION = 1
Receipt = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One recomputed figure: what must hold, what the receipt says, what came out."""

    name: str
    stated: int
    computed: int

    @property
    def ok(self) -> bool:
        return self.stated == self.computed


@dataclass(frozen=True)
class Verdict:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def wrong(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)


def recompute(receipt: Receipt) -> Verdict:
    """Check a receipt of a request, a lease or a deployment. ``BadInput``: it is none."""
    try:
        if receipt["v"] != VERSION:
            raise BadInput(f"This is a receipt of version {receipt['v']!r}, not {VERSION}.")
        checks = [*_KINDS[receipt["kind"]](receipt), *_ledger(receipt)]
        return Verdict(tuple(checks))
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise BadInput(f"This is not a whole receipt: {type(error).__name__} {error}.") from None


def ceiling_units(rates: Receipt, prompt_tokens: int, completion_tokens: int) -> int:
    """The most that so many tokens may cost, in units of 1 / CARRY_DIVISOR nano-dollar."""
    per_thousand = (
        rates["ceiling_prompt_nano"] * prompt_tokens
        + rates["ceiling_completion_nano"] * completion_tokens
    )
    return int(per_thousand * (CARRY_DIVISOR // 1000))


def _window(window: Receipt) -> Shares:
    spans = [
        Span(str(n), span["start_ns"], span["end_ns"], span["weight"])
        for n, span in enumerate(window["spans"])
    ]
    return share_window(window["gpus"], window["start_ns"], window["end_ns"], spans)


def _of(window: Receipt, shares: Shares, whose: tuple[str, ...]) -> int:
    return sum(
        shares.by_key.get(str(n), 0)
        for n, span in enumerate(window["spans"])
        if span["whose"] in whose
    )


def _request(receipt: Receipt) -> list[Check]:
    checks: list[Check] = []
    by_attempt: dict[int, int] = {}
    for window in receipt["windows"]:
        shares = _window(window)
        name = f"window {window['start_ns']}"
        busy = shares.busy // TICKS_PER_GPU_NS
        mine = _of(window, shares, ("request",))
        checks.append(Check(f"busy GPU-ns of {name}", window["busy_ns"], busy))
        checks.append(Check(f"ticks of this request in {name}", window["ticks"], mine))
        checks.extend(_booking(window, _of(window, shares, ("request", "account"))))
        for n, span in enumerate(window["spans"]):
            if span["whose"] == "request":
                share = shares.by_key.get(str(n), 0)
                by_attempt[span["attempt"]] = by_attempt.get(span["attempt"], 0) + share
    total = sum(by_attempt.values())
    checks.append(Check("ticks of this request", receipt["share"]["ticks"], total))
    units = waived = 0
    for attempt in receipt["attempts"]:
        cost = attempt["rate_nano"] * by_attempt.get(attempt["attempt"], 0)
        units += cost
        waived += _waived(attempt, cost) if attempt["ended"] else 0
    checks.append(Check("units waived", receipt["cost"]["waived_units"], waived))
    checks.append(Check("units charged", receipt["cost"]["units"], units - waived))
    return checks


def _waived(attempt: Receipt, cost: int) -> int:
    if attempt["failed"]:
        return cost
    if not (attempt["ceiling_prompt_nano"] or attempt["ceiling_completion_nano"]):
        return 0
    most = ceiling_units(attempt, attempt["prompt_tokens"], attempt["completion_tokens"])
    return max(0, cost - most)


def _booking(window: Receipt, account_ticks: int) -> list[Check]:
    """The account's gross charge of a window: exact but for its carry, less than a nano-dollar."""
    if window.get("gross_nano") is None:
        return []
    exact = window["rate_nano"] * account_ticks // CARRY_DIVISOR
    booked = window["gross_nano"]
    name = f"gross nano-dollars of the account in window {window['start_ns']}"
    return [Check(name, booked, booked if booked - exact in (0, 1) else exact)]


def _lease(receipt: Receipt) -> list[Check]:
    gpus, buckets = receipt["gpus"], receipt["buckets"]
    checks: list[Check] = []
    busy = 0
    for window in receipt["windows"]:
        shares = _window(window)
        busy += shares.busy // TICKS_PER_GPU_NS
        checks.append(
            Check(
                f"busy GPU-ns of window {window['start_ns']}",
                window["busy_ns"],
                shares.busy // TICKS_PER_GPU_NS,
            )
        )
    if not receipt["truncated"]:
        stated = receipt["busy_ns"] - receipt["late_ns"]
        checks.append(Check("busy GPU-ns of all windows", stated, busy))
    if receipt["closed_ns"] is not None:
        capacity = gpus * (receipt["closed_ns"] - receipt["opened_ns"])
        checks.append(Check("the buckets sum to the capacity", sum(buckets.values()), capacity))
        checks.append(Check("busy is a bucket", buckets["busy"], receipt["busy_ns"]))
    checks.extend(_bills(receipt))
    return checks


def _bills(receipt: Receipt) -> list[Check]:
    """Each bill is its time at the rate, exact but for the carry; together they lose nothing."""
    checks = []
    for bill in receipt["bills"]:
        gpu_ns = receipt["gpus"] * (bill["until_ns"] - bill["from_ns"])
        exact = receipt["renter_rate_nano"] * gpu_ns * TICKS_PER_GPU_NS // CARRY_DIVISOR
        booked = bill["charge_nano"]
        name = f"nano-dollars from {bill['from_ns']} to {bill['until_ns']}"
        checks.append(Check(name, booked, booked if booked - exact in (0, 1) else exact))
        earned = booked * (10_000 - receipt["fee_basis_points"]) // 10_000
        if bill["earned_nano"]:
            checks.append(Check(f"the provider's part of {name}", bill["earned_nano"], earned))
    total = sum(bill["charge_nano"] for bill in receipt["bills"])
    checks.append(Check("nano-dollars billed", receipt["billed_nano"], total))
    if (credit := receipt.get("credit")) is not None:
        worth = receipt["renter_rate_nano"] * credit["gpu_ns"] * TICKS_PER_GPU_NS // CARRY_DIVISOR
        name = "nano-dollars that went back"
        checks.append(Check(name, credit["credit_nano"], min(worth, total)))
    return checks


def _volume(receipt: Receipt) -> list[Check]:
    """Each stretch is its GiB x time at the price, exact but for the carry; the ledger says so."""
    checks: list[Check] = []
    for bill in receipt["bills"]:
        ticks = bill["gib"] * bill["seen_ns"] * TICKS_PER_GPU_NS
        exact, booked = bill["price_nano"] * ticks // CARRY_DIVISOR, bill["charge_nano"]
        name = f"nano-dollars from {bill['from_ns']} to {bill['until_ns']}"
        checks.append(Check(name, booked, booked if booked - exact in (0, 1) else exact))
        within = min(max(bill["seen_ns"], 0), bill["until_ns"] - bill["from_ns"])
        checks.append(Check(f"time seen of {name}", bill["seen_ns"], within))
    total = sum(bill["charge_nano"] for bill in receipt["bills"])
    checks.append(Check("nano-dollars billed", receipt["billed_nano"], total))
    mine = sum(
        entry["amount"]
        for one in receipt["ledger"]
        for entry in one["entries"]
        if not one.get("reverses") and entry["account"] == receipt["account_id"]
    )
    checks.append(Check("nano-dollars booked", receipt["billed_nano"], -mine))
    return checks


def _ledger(receipt: Receipt) -> list[Check]:
    """Every transaction sums to zero per asset, and one that reverses another turns it whole."""
    checks: list[Check] = []
    by_id = {one["id"]: _amounts(one) for one in receipt.get("ledger", [])}
    for one in receipt.get("ledger", []):
        for asset in sorted({entry["asset"] for entry in one["entries"]}):
            total = sum(e["amount"] for e in one["entries"] if e["asset"] == asset)
            checks.append(Check(f"{asset} of {one['id']} sums to zero", total, 0))
        if (turned := one.get("reverses")) is not None:
            left = [a + b for a, b in zip(_amounts(one), by_id.get(turned, ()), strict=True)]
            checks.append(Check(f"{one['id']} turns {turned} back", sum(map(abs, left)), 0))
    return checks


def _amounts(one: Receipt) -> list[int]:
    """The entries' amounts, in the order of their accounts."""
    ordered = sorted(one["entries"], key=lambda e: (e["account"], e["asset"]))
    return [entry["amount"] for entry in ordered]


def _deployment(receipt: Receipt) -> list[Check]:
    return [check for lease in receipt["leases"] for check in (*_lease(lease), *_ledger(lease))]


_KINDS: dict[str, Callable[[Receipt], list[Check]]] = {
    "request": _request,
    "lease": _lease,
    "deployment": _deployment,
    "volume": _volume,
}
