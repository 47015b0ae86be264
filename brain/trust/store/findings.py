"""SQL of modes, findings and what agents told of their machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.trust.core.kinds import CheckKind, Finding, Mode, ModeNow
from brain.trust.models import CheckFinding, CheckMode, PreflightReport
from kernel.ids import CheckId, NodeId

REPORTS_KEPT = 50  # of a node; older ones are forgotten
FINDINGS_LOOKED_AT = 3  # of a kind and GPU: the newest


async def modes(tx: Tx, now_ns: int) -> dict[CheckKind, ModeNow]:
    """Every kind's mode. One that was never seen begins in shadow mode, now."""
    rows = list(await tx.scalars(select(CheckMode)))
    missing = {kind.value for kind in CheckKind} - {row.kind for row in rows}
    if missing:
        values = [
            {"kind": kind, "mode": Mode.SHADOW.value, "since_ns": now_ns, "changed_by": ""}
            for kind in sorted(missing)
        ]
        await tx.execute(insert(CheckMode).values(values).on_conflict_do_nothing())
        rows = list(await tx.scalars(select(CheckMode)))
    known = {kind.value for kind in CheckKind}
    return {
        CheckKind(row.kind): ModeNow(Mode(row.mode), row.since_ns)
        for row in rows
        if row.kind in known
    }


async def changed_by(tx: Tx) -> dict[str, str]:
    """Who set each kind's mode; "" = nobody yet."""
    rows = await tx.execute(select(CheckMode.kind, CheckMode.changed_by))
    return {row.kind: row.changed_by for row in rows}


async def failed_nodes(tx: Tx, kind: CheckKind) -> list[NodeId]:
    """Nodes that ever failed a kind: whose standing its mode may change."""
    return list(
        await tx.scalars(
            select(CheckFinding.node_id)
            .where(CheckFinding.kind == kind.value, ~CheckFinding.passed)
            .distinct()
            .order_by(CheckFinding.node_id)
        )
    )


async def mode_row(tx: Tx, kind: CheckKind) -> CheckMode:
    row = await tx.scalar(select(CheckMode).where(CheckMode.kind == kind.value).with_for_update())
    assert row is not None, "modes() made it"
    return row


@dataclass(frozen=True)
class Count:
    """Findings of a kind since a time. ``contradicted``: failures of a GPU that passed the same
    check within a day after, on the same boot: most likely the check was wrong."""

    kind: str
    passed: int
    failed: int
    contradicted: int


async def counts(tx: Tx, since: dict[CheckKind, ModeNow]) -> dict[CheckKind, Count]:
    """Of each kind since its mode was set."""
    rows = await tx.execute(
        text(
            "SELECT f.kind, count(*) FILTER (WHERE f.passed) AS passed,"
            " count(*) FILTER (WHERE NOT f.passed) AS failed,"
            " count(*) FILTER (WHERE NOT f.passed AND EXISTS (SELECT 1 FROM check_finding o"
            "  WHERE o.node_id = f.node_id AND o.gpu_uuid = f.gpu_uuid AND o.kind = f.kind"
            "  AND o.host_boot_id = f.host_boot_id AND o.passed AND o.at_ns > f.at_ns"
            "  AND o.at_ns <= f.at_ns + 86400000000000)) AS contradicted"
            " FROM check_finding f JOIN check_mode m ON m.kind = f.kind"
            " WHERE f.at_ns >= m.since_ns GROUP BY f.kind"
        )
    )
    found = {row.kind: Count(row.kind, row.passed, row.failed, row.contradicted) for row in rows}
    return {kind: found.get(kind.value, Count(kind.value, 0, 0, 0)) for kind in since}


async def add(
    tx: Tx,
    check_id: CheckId,
    node_id: NodeId,
    boot_id: str,
    findings: Sequence[Finding],
    modes_now: dict[CheckKind, ModeNow],
) -> None:
    """Keep what a check found, each kind once a check. Kinds that are off leave nothing."""
    rows = [
        {
            "check_id": check_id,
            "kind": found.kind.value,
            "node_id": node_id,
            "gpu_uuid": found.gpu_uuid,
            "host_boot_id": boot_id,
            "passed": found.passed,
            "mode": modes_now[found.kind].mode.value,
            "reason": found.reason[:1000],
            "at_ns": found.at_ns,
        }
        for found in findings
        if modes_now[found.kind].mode is not Mode.OFF
    ]
    if rows:
        await tx.execute(insert(CheckFinding).values(rows).on_conflict_do_nothing())


async def newest(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[Finding]]:
    """The newest few of each kind and GPU."""
    place = (
        func.row_number()
        .over(
            partition_by=(CheckFinding.node_id, CheckFinding.kind, CheckFinding.gpu_uuid),
            order_by=CheckFinding.at_ns.desc(),
        )
        .label("place")
    )
    inner = select(
        CheckFinding.node_id,
        CheckFinding.kind,
        CheckFinding.gpu_uuid,
        CheckFinding.passed,
        CheckFinding.at_ns,
        CheckFinding.reason,
        place,
    ).where(CheckFinding.node_id.in_(node_ids))
    ranked = inner.subquery()
    rows = await tx.execute(select(ranked).where(ranked.c.place <= FINDINGS_LOOKED_AT))
    found: dict[NodeId, list[Finding]] = {}
    known = {kind.value for kind in CheckKind}
    for row in rows:
        if row.kind in known:
            line = Finding(CheckKind(row.kind), row.gpu_uuid, row.passed, row.at_ns, row.reason)
            found.setdefault(NodeId(row.node_id), []).append(line)
    return found


async def findings_of(tx: Tx, node_id: NodeId, limit: int) -> list[CheckFinding]:
    """The newest first."""
    return list(
        await tx.scalars(
            select(CheckFinding)
            .where(CheckFinding.node_id == node_id)
            .order_by(CheckFinding.at_ns.desc(), CheckFinding.check_id, CheckFinding.kind)
            .limit(limit)
        )
    )


async def keep_report(
    tx: Tx, node_id: NodeId, at_ns: int, points: list[dict[str, Any]], fatal: str
) -> bool:
    """A new row when it says something else than the last one (else False); old ones go."""
    last = await latest_report(tx, node_id)
    if last is not None and last.points == points:
        return False
    await tx.execute(
        insert(PreflightReport)
        .values(node_id=node_id, at_ns=at_ns, points=points, fatal=fatal)
        .on_conflict_do_nothing()
    )
    kept = (
        select(PreflightReport.at_ns)
        .where(PreflightReport.node_id == node_id)
        .order_by(PreflightReport.at_ns.desc())
        .limit(REPORTS_KEPT)
    )
    await tx.execute(
        delete(PreflightReport)
        .where(PreflightReport.node_id == node_id, PreflightReport.at_ns.not_in(kept))
        .execution_options(synchronize_session=False)
    )
    return True


async def latest_report(tx: Tx, node_id: NodeId) -> PreflightReport | None:
    return next(iter(await reports(tx, node_id, 1)), None)


async def reports(tx: Tx, node_id: NodeId, limit: int) -> list[PreflightReport]:
    """The newest first."""
    return list(
        await tx.scalars(
            select(PreflightReport)
            .where(PreflightReport.node_id == node_id)
            .order_by(PreflightReport.at_ns.desc())
            .limit(limit)
            .execution_options(populate_existing=True)
        )
    )
