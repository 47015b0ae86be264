"""Values between beats and rows: what a process knows of checks, what agents told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from brain.trust.states import LIVE
from kernel.ids import NodeId
from kernel.wire.agent import CheckOrder, CheckSample, CheckStage, CheckTold


@dataclass(frozen=True)
class Row:
    """Of a check, what its order is made of."""

    check_id: str
    node_id: NodeId
    gpu_uuid: str
    state: str
    ordered: bytes
    recall_key: str
    sample: bytes | None


@dataclass(frozen=True)
class Known:
    check_id: str
    gpu_uuid: str
    live: bool
    order: CheckOrder


@dataclass
class News:
    """What one process heard of a check since it last wrote; times are its first sight."""

    check_id: str
    handed_ns: int | None = None
    committed_ns: int | None = None
    recall_ns: int | None = None
    recalled_ns: int | None = None
    opened_ns: int | None = None
    refused_ns: int | None = None
    contradicted_ns: int | None = None
    told: bytes | None = None

    def take(self, told: CheckTold, now_ns: int) -> None:
        """What an agent told; a later stage implies the earlier ones, told in a lost beat.

        What was opened is told in turn with other checks' (a beat has a largest size), so a
        word without it does not replace one with it."""
        if told.stage is CheckStage.REFUSED:
            self.refused_ns = self.refused_ns or now_ns
        else:
            self.committed_ns = self.committed_ns or now_ns
        if told.stage in (CheckStage.RECALLED, CheckStage.OPENED):
            self.recalled_ns = self.recalled_ns or now_ns
        if told.stage is CheckStage.OPENED:
            self.opened_ns = self.opened_ns or now_ns
        if told.stage is CheckStage.OPENED or self.opened_ns is None:
            self.told = msgspec.json.encode(told)


def orders(rows: Iterable[Row]) -> dict[NodeId, dict[str, Known]]:
    """The checks of each node, as they are handed out."""
    found: dict[NodeId, dict[str, Known]] = {}
    for row in rows:
        order = msgspec.json.decode(row.ordered, type=CheckOrder)
        order.recall = row.recall_key
        if row.sample is not None:
            order.sample = msgspec.json.decode(row.sample, type=CheckSample)
        known = Known(row.check_id, row.gpu_uuid, row.state in LIVE, order)
        found.setdefault(row.node_id, {})[row.check_id] = known
    return found


def merged(older: Mapping[str, News], newer: Mapping[str, News]) -> dict[str, News]:
    """What could not be written and what came since: the first sight of each stage stands."""
    found = dict(older)
    for key, late in newer.items():
        early = found.get(key)
        if early is None:
            found[key] = late
            continue
        found[key] = News(
            check_id=key,
            handed_ns=early.handed_ns or late.handed_ns,
            committed_ns=early.committed_ns or late.committed_ns,
            recall_ns=early.recall_ns or late.recall_ns,
            recalled_ns=early.recalled_ns or late.recalled_ns,
            opened_ns=early.opened_ns or late.opened_ns,
            refused_ns=early.refused_ns or late.refused_ns,
            contradicted_ns=early.contradicted_ns or late.contradicted_ns,
            told=early.told if early.opened_ns else late.told or early.told,
        )
    return found
