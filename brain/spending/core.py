"""When an account is warned, and in which words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.money import NANO, Money


@dataclass(frozen=True)
class Seen:
    """An account's free balance and its line, now."""

    free_nano: int
    threshold_nano: int  # 0: none
    below: bool


def again_nano(threshold_nano: int) -> int:
    """From here on a balance counts as risen: a tenth and a dollar above the line, so that what
    is set aside and given back every few seconds is no crossing."""
    return threshold_nano + threshold_nano // 10 + NANO


def side(seen: Seen) -> bool:
    """Is it below its line, after what was seen before?"""
    if seen.threshold_nano <= 0:
        return False
    if seen.below:
        return seen.free_nano < again_nano(seen.threshold_nano)
    return seen.free_nano < seen.threshold_nano


@dataclass(frozen=True)
class Words:
    subject: str
    text: str


def low_balance(free_nano: int, threshold_nano: int) -> Words:
    return Words(
        f"Your credit is below {Money(threshold_nano)}",
        f"{_free(free_nano)} of your credit is free.\n\n"
        "When it is used up, your deployments and pods are stopped. Volumes are kept for a while.\n"
        "Add credit: ganglion topup. Set this line, or 0 for no warning:"
        " PUT /api/v1/billing/alerts\n",
    )


def stopped(reason: str, free_nano: int, grace_days: int, *, stands: bool) -> Words:
    """``stands``: new requests are refused still; else what was left over is free again."""
    after = (
        "Deployments and pods end within half a minute, and new requests are refused.\n"
        f"Volumes are kept for {grace_days} days; then they are deleted.\n"
    )
    if not stands:
        after = (
            "Deployments and pods have ended. Volumes are kept, and are paid from what is left;"
            f" {grace_days} days after that is used up they are deleted.\n"
        )
    return Words(
        "Your deployments and pods are stopped",
        f"Your account was stopped: {reason}. {_free(free_nano)} is free.\n\n{after}"
        "Add credit (ganglion topup), then start again what you need.\n",
    )


def _free(nano: int) -> str:
    cents = nano // (NANO // 100)
    sign = "-" if cents < 0 else ""
    return f"{sign}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"
