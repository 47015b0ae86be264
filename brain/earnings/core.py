"""Pure: earnings by node and by day, and the share of GPU time that was leased."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.ids import LeaseId, NodeId

PPM = 1_000_000


class Part(Protocol):
    """What was earned by one lease, or by volumes (``lease_id`` None), on one day since 1970."""

    @property
    def lease_id(self) -> LeaseId | None: ...
    @property
    def day(self) -> int: ...
    @property
    def gpu_ns(self) -> int: ...
    @property
    def earned_nano(self) -> int: ...


@dataclass
class Sum:
    gpu_ns: int = 0
    earned_nano: int = 0

    def add(self, part: Part) -> None:
        self.gpu_ns += part.gpu_ns
        self.earned_nano += part.earned_nano


def by_day(parts: Sequence[Part]) -> dict[int, Sum]:
    """By days since 1970, in order."""
    found: defaultdict[int, Sum] = defaultdict(Sum)
    for part in parts:
        found[part.day].add(part)
    return dict(sorted(found.items()))


def by_node(parts: Sequence[Part], nodes: Mapping[LeaseId, NodeId]) -> dict[NodeId | None, Sum]:
    """None: volumes."""
    found: defaultdict[NodeId | None, Sum] = defaultdict(Sum)
    for part in parts:
        found[None if part.lease_id is None else nodes.get(part.lease_id)].add(part)
    return dict(found)


def utilisation_ppm(leased_gpu_ns: int, gpus: int, span_ns: int) -> int:
    """Millionths of the GPU time that was there; 0 where none was."""
    capacity = gpus * span_ns
    return min(PPM, leased_gpu_ns * PPM // capacity) if capacity > 0 else 0
