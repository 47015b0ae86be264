"""RunPod's records of what pods were billed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from brain.adapters.clouds.fields import amount, nano, text
from brain.adapters.clouds.runpod.machines import wall_ns
from brain.adapters.clouds.runpod.refusals import TITLE
from brain.clouds import Billed, Unreadable
from kernel.clock import NS


def wall(ns: int) -> str:
    """A moment as the cloud is asked for it."""
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rest_bill(row: object) -> Billed:
    """One record of ``/v2/billing/pods``."""
    if isinstance(row, Mapping):
        machine, dollars = text(row, "podId"), amount(row, "totalAmount")
        since, until = wall_ns(text(row, "startTime")), wall_ns(text(row, "endTime"))
        if machine and dollars is not None and since is not None and until is not None:
            return Billed(machine, since, until, nano(dollars))
    raise Unreadable(f"{TITLE} billed in another shape.")
