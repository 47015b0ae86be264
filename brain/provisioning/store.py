"""All SQL of provisioning. Locks are taken in the order replica, lease, node, money, intent."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from brain.plumbing import Tx, move, moves
from brain.provisioning.core import Facts, Owner, at_of
from brain.provisioning.models import (
    CloudAccount,
    CloudAlert,
    CloudSweep,
    Intent,
    UnknownMachine,
)
from brain.provisioning.states import (
    ACCOUNT,
    ENDED,
    INTENT,
    UNKNOWN,
    AccountEvent,
    AccountState,
    IntentEvent,
    IntentState,
    UnknownEvent,
    UnknownState,
)
from kernel.ids import IntentId, LeaseId, ReplicaId

_ENDED = [state.value for state in ENDED]
_STAGE = {
    IntentState.CREATING: "ordered_ns",
    IntentState.BOOTING: "made_ns",
    IntentState.ENROLLED: "enrolled_ns",
    IntentState.SERVING: "serving_ns",
    IntentState.TERMINATING: "ending_ns",
    IntentState.TERMINATED: "ended_ns",
    IntentState.ABSENT: "ended_ns",
}
SWEEPS_KEPT_NS = 7 * 86_400 * 1_000_000_000


async def intent(tx: Tx, intent_id: IntentId, *, lock: bool = False) -> Intent | None:
    wanted = select(Intent).where(Intent.intent_id == intent_id)
    if lock:
        wanted = wanted.with_for_update()
    return await tx.scalar(wanted.execution_options(populate_existing=True))


async def intent_of_replica(tx: Tx, replica_id: ReplicaId) -> Intent | None:
    return await tx.scalar(select(Intent).where(Intent.replica_id == replica_id))


async def agentless(tx: Tx, lease_ids: Collection[LeaseId]) -> list[Intent]:
    """The rows of those of these leases that run at a cloud with no agent of ours."""
    wanted = select(Intent).where(Intent.lease_id.in_(list(lease_ids)), Intent.agentless)
    return list(await tx.scalars(wanted.execution_options(populate_existing=True)))


async def running_alone(tx: Tx, cloud: str) -> frozenset[str]:
    """The machines that stand at a cloud with no agent of ours. What runs there may hold a key of
    the cloud's for itself and change its own label: these are known by their ids alone."""
    wanted = select(Intent.machine_id).where(
        Intent.cloud == cloud,
        Intent.agentless,
        Intent.machine_id.is_not(None),
        Intent.state.not_in(_ENDED),
    )
    return frozenset(found for found in await tx.scalars(wanted) if found is not None)


async def places(tx: Tx, replica_ids: Collection[ReplicaId]) -> dict[ReplicaId, str]:
    """The offers that these replicas were given at clouds, as the planner calls them."""
    rows = await tx.execute(
        select(Intent.replica_id, Intent.cloud, Intent.offer["key"].as_string()).where(
            Intent.replica_id.in_(list(replica_ids))
        )
    )
    return {replica_id: f"{cloud}/{key}" for replica_id, cloud, key in rows}


async def move_intent(tx: Tx, row: Intent, event: IntentEvent, reason: str, now_ns: int) -> None:
    """Take an intent through ``event``; the new stage begins now."""
    await tx.flush()
    await move(tx, row, INTENT, event, reason=reason[:1000], at=at_of(now_ns))
    stage = _STAGE.get(IntentState(row.state))
    if stage is not None:
        setattr(row, stage, now_ns)
    await tx.flush()


def facts(row: Intent) -> Facts:
    return Facts(
        state=IntentState(row.state),
        wanted=row.wanted,
        ordered_ns=row.ordered_ns,
        made_ns=row.made_ns,
        boot_by_ns=row.boot_by_ns,
        seen_ns=row.seen_ns,
        missing_ns=row.missing_ns,
        missing_count=row.missing_count,
        unwell_ns=row.unwell_ns,
    )


async def living(tx: Tx, cloud: str | None = None) -> list[Intent]:
    """Intents that are not over, the oldest first."""
    wanted = select(Intent).where(Intent.state.not_in(_ENDED))
    if cloud is not None:
        wanted = wanted.where(Intent.cloud == cloud)
    return list(await tx.scalars(wanted.order_by(Intent.intent_id)))


async def owners(tx: Tx, intent_ids: Collection[IntentId]) -> dict[IntentId, Owner]:
    rows = await tx.execute(
        select(
            Intent.intent_id, Intent.state, Intent.attempt, Intent.machine_id, Intent.ended_ns
        ).where(Intent.intent_id.in_(list(intent_ids)))
    )
    return {
        row.intent_id: Owner(IntentState(row.state), row.attempt, row.machine_id, row.ended_ns)
        for row in rows
    }


async def newest(tx: Tx) -> IntentId | None:
    """The intent that was wished for last: ids sort by birth."""
    found = await tx.scalar(select(func.max(Intent.intent_id)))
    return None if found is None else IntentId(found)


async def database_mark(tx: Tx) -> str:
    """Which database this is: another after a dump was loaded, a new line of time after a
    recovery to a point in it."""
    found = await tx.scalar(
        text(
            "SELECT s.system_identifier || ':' || d.oid || ':' || c.timeline_id"
            " FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d"
            " WHERE d.datname = current_database()"
        )
    )
    return str(found)


async def account(tx: Tx, cloud: str, now_ns: int, *, lock: bool = False) -> CloudAccount:
    """The cloud's account row; made when it is first asked for."""
    wanted = select(CloudAccount).where(CloudAccount.cloud == cloud)
    if lock:
        wanted = wanted.with_for_update()
    found = await tx.scalar(wanted.execution_options(populate_existing=True))
    if found is not None:
        return found
    await tx.execute(
        text("SELECT pg_advisory_xact_lock(hashtext('cloud_account ' || :cloud))"),
        {"cloud": cloud},
    )
    found = await tx.scalar(wanted.execution_options(populate_existing=True))
    if found is not None:
        return found
    row = CloudAccount(
        cloud=cloud,
        frozen_reason="",
        allowed_unknown=[],
        database_mark=await database_mark(tx),
    )
    return await moves.create(tx, row, ACCOUNT, reason="first used", at=at_of(now_ns))


async def account_state(tx: Tx, cloud: str) -> AccountState | None:
    """As it was last seen; None: never used."""
    found = await tx.scalar(select(CloudAccount.state).where(CloudAccount.cloud == cloud))
    return None if found is None else AccountState(found)


async def accounts(tx: Tx) -> list[CloudAccount]:
    return list(await tx.scalars(select(CloudAccount).order_by(CloudAccount.cloud)))


async def move_account(
    tx: Tx, row: CloudAccount, event: AccountEvent, reason: str, now_ns: int
) -> bool:
    """False when the account is in a state that this event does not change."""
    if not ACCOUNT.can(AccountState(row.state), event):
        return False
    await move(tx, row, ACCOUNT, event, reason=reason[:1000], at=at_of(now_ns))
    return True


def unknown_id(cloud: str, machine_id: str) -> str:
    return f"{cloud}:{machine_id}"


async def unknown(
    tx: Tx, cloud: str, machine_id: str, *, lock: bool = False
) -> UnknownMachine | None:
    wanted = select(UnknownMachine).where(
        UnknownMachine.unknown_id == unknown_id(cloud, machine_id)
    )
    if lock:
        wanted = wanted.with_for_update()
    return await tx.scalar(wanted.execution_options(populate_existing=True))


async def unknowns(tx: Tx, cloud: str | None = None) -> list[UnknownMachine]:
    """Unknown machines that are still there, the oldest first."""
    over = [UnknownState.GONE.value, UnknownState.ADOPTED.value]
    wanted = select(UnknownMachine).where(UnknownMachine.state.not_in(over))
    if cloud is not None:
        wanted = wanted.where(UnknownMachine.cloud == cloud)
    return list(await tx.scalars(wanted.order_by(UnknownMachine.first_ns)))


async def add_unknown(tx: Tx, row: UnknownMachine, now_ns: int) -> UnknownMachine:
    return await moves.create(tx, row, UNKNOWN, reason=row.why, at=at_of(now_ns))


async def move_unknown(
    tx: Tx, row: UnknownMachine, event: UnknownEvent, reason: str, now_ns: int
) -> None:
    await move(tx, row, UNKNOWN, event, reason=reason[:1000], at=at_of(now_ns))


async def add_sweep(tx: Tx, row: CloudSweep) -> None:
    tx.add(row)
    await tx.flush()
    await tx.execute(
        delete(CloudSweep).where(
            CloudSweep.cloud == row.cloud, CloudSweep.began_ns < row.began_ns - SWEEPS_KEPT_NS
        )
    )


async def last_sweeps(tx: Tx) -> dict[str, CloudSweep]:
    """The newest of each cloud."""
    rows = await tx.scalars(
        select(CloudSweep)
        .ext(distinct_on(CloudSweep.cloud))
        .order_by(CloudSweep.cloud, CloudSweep.began_ns.desc())
    )
    return {row.cloud: row for row in rows}


async def raise_alert(tx: Tx, cloud: str, subject: str, kind: str, said: str, now_ns: int) -> None:
    """Open the alert, or say it anew; since when it is so is kept."""
    row = insert(CloudAlert).values(
        subject=subject, kind=kind, cloud=cloud, said=said[:1000], since_ns=now_ns, last_ns=now_ns
    )
    again = CloudAlert.closed_ns.is_not(None)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["subject", "kind"],
            set_={
                "said": row.excluded.said,
                "last_ns": row.excluded.last_ns,
                "since_ns": case((again, row.excluded.since_ns), else_=CloudAlert.since_ns),
                "closed_ns": None,
            },
        )
    )


async def close_alert(tx: Tx, subject: str, kind: str, now_ns: int) -> None:
    await tx.execute(
        update(CloudAlert)
        .where(
            CloudAlert.subject == subject, CloudAlert.kind == kind, CloudAlert.closed_ns.is_(None)
        )
        .values(closed_ns=now_ns)
    )


async def open_alerts(tx: Tx) -> Sequence[CloudAlert]:
    return list(
        await tx.scalars(
            select(CloudAlert)
            .where(CloudAlert.closed_ns.is_(None))
            .order_by(CloudAlert.since_ns, CloudAlert.subject)
        )
    )
