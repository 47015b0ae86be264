"""Rows of trust as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence

from brain.trust.core.kinds import Mode
from brain.trust.models import CheckFinding, MaintenanceWindow, PreflightReport, WorkCheck
from brain.trust.modes import KindNow
from brain.trust.schemas import (
    CheckOut,
    EventOut,
    FindingOut,
    ModeOut,
    NodeChecksOut,
    PreflightOut,
    ReliabilityOut,
    WindowOut,
)
from brain.trust.scores import Scored
from brain.trust.store.windows import view
from brain.trust.terms import TrustTerms
from kernel.clock import NS, at_ns

DAY_NS = 86_400 * NS


def window(row: MaintenanceWindow, now_ns: int) -> WindowOut:
    held = view(row)
    if row.cancelled_ns is not None:
        state = "cancelled"
    elif row.until_ns <= now_ns:
        state = "over"
    else:
        state = "now" if row.from_ns <= now_ns else "announced"
    return WindowOut(
        window_id=row.window_id,
        node_id=row.node_id,
        from_=at_ns(row.from_ns),
        until=at_ns(row.until_ns),
        reason=row.reason,
        announced_at=at_ns(row.announced_ns),
        no_new_work_from=at_ns(held.closes_ns),
        late=held.late,
        state=state,
    )


def reliability(found: Scored) -> ReliabilityOut:
    return ReliabilityOut(
        node_id=found.node_id,
        reliability_ppm=found.score.ppm,
        uptime_ppm=found.score.uptime_ppm,
        penalty=found.score.penalty,
        served_ppm=found.score.served,
        life_seconds=found.score.life_seconds,
        since_ns=found.since_ns,
        as_of_ns=found.as_of_ns,
        events=[
            EventOut(
                kind=line.event.kind.value,
                subject=line.event.subject,
                at_ns=line.event.at_ns,
                seconds=line.event.seconds,
                detail=line.event.detail,
                weight_ppm=line.weight_ppm,
                counted=line.counted,
            )
            for line in found.score.lines
        ],
    )


def node_checks(
    node_id: str,
    withheld: str,
    reports: Sequence[PreflightReport],
    rows: Sequence[WorkCheck],
    findings: Sequence[CheckFinding],
) -> NodeChecksOut:
    return NodeChecksOut(
        node_id=node_id,
        withheld=withheld,
        preflight=[
            PreflightOut(at=at_ns(one.at_ns), fatal=one.fatal, points=one.points) for one in reports
        ],
        checks=[
            CheckOut(
                check_id=row.check_id,
                gpu_uuid=row.gpu_uuid,
                state=row.state,
                reason=row.state_reason,
                asked_at=at_ns(row.asked_ns),
            )
            for row in rows
        ],
        findings=[
            FindingOut(
                check_id=one.check_id,
                kind=one.kind,
                gpu_uuid=one.gpu_uuid,
                passed=one.passed,
                mode=one.mode,
                reason=one.reason,
                at=at_ns(one.at_ns),
            )
            for one in findings
        ],
    )


def mode(one: KindNow, terms: TrustTerms) -> ModeOut:
    soonest = None
    if one.now.mode is Mode.SHADOW:
        soonest = at_ns(one.now.since_ns + terms.shadow_days_min * DAY_NS)
    return ModeOut(
        kind=one.kind.value,
        mode=one.now.mode.value,
        since=at_ns(one.now.since_ns),
        changed_by=one.changed_by,
        passed=one.count.passed,
        failed=one.count.failed,
        false_positives=one.count.contradicted,
        may_be_enforced_at=soonest,
    )
