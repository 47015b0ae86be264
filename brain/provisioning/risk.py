"""What is rented now, how far each machine is, and what it costs: money at risk."""

from __future__ import annotations

from dataclasses import dataclass

from brain.plumbing import Tx
from brain.provisioning import core, store
from brain.provisioning.core import accrued_nano, at_of
from brain.provisioning.models import CloudAccount, CloudAlert, CloudSweep, Intent, UnknownMachine
from brain.provisioning.states import ENDED, STANDING, IntentState
from kernel.ids import ReplicaId

SAID = {
    IntentState.PLANNED: "is about to be ordered",
    IntentState.CREATING: "is ordered",
    IntentState.BOOTING: "boots",
}


async def stage_of(tx: Tx, replica_id: ReplicaId) -> str:
    """How far the machine of a replica is, in words; empty when none is being rented."""
    row = await store.intent_of_replica(tx, replica_id)
    said = None if row is None else SAID.get(IntentState(row.state))
    if row is None or said is None:
        return ""
    since = row.state_at.strftime("%H:%M:%S UTC")
    words = f"A machine at {row.cloud} {said} since {since} (stage {row.state})."
    if row.state == IntentState.BOOTING.value and row.boot_by_ns is not None:
        must = "It must run" if row.agentless else "Its agent must speak"
        words += f" {must} by {at_of(row.boot_by_ns):%H:%M:%S} UTC."
    if row.last_error:
        words += f" {row.last_error}"
    return words[:1000]


@dataclass(frozen=True)
class CloudRisk:
    """One cloud: its account, its machines, what they cost an hour and so far."""

    cloud: str
    account: CloudAccount | None
    sweep: CloudSweep | None
    intents: tuple[Intent, ...]
    unknown: tuple[UnknownMachine, ...]
    cost_nano_hour: int
    accrued_nano: int


@dataclass(frozen=True)
class Risk:
    """All clouds, and what people should know of them."""

    at_ns: int
    clouds: tuple[CloudRisk, ...]
    alerts: tuple[CloudAlert, ...]

    @property
    def cost_nano_hour(self) -> int:
        return sum(cloud.cost_nano_hour for cloud in self.clouds)

    @property
    def accrued_nano(self) -> int:
        return sum(cloud.accrued_nano for cloud in self.clouds)


async def money_at_risk(tx: Tx, *, now_ns: int) -> Risk:
    """Every machine that stands or may stand, ours or nobody's, by cloud."""
    accounts = {row.cloud: row for row in await store.accounts(tx)}
    sweeps = await store.last_sweeps(tx)
    intents = await store.living(tx)
    unknown = await store.unknowns(tx)
    names = {*accounts, *(i.cloud for i in intents), *(u.cloud for u in unknown)}
    clouds = tuple(
        _risk(
            name,
            accounts.get(name),
            sweeps.get(name),
            tuple(i for i in intents if i.cloud == name),
            tuple(u for u in unknown if u.cloud == name),
            now_ns,
        )
        for name in sorted(names)
    )
    return Risk(now_ns, clouds, tuple(await store.open_alerts(tx)))


def intent_cost(row: Intent, now_ns: int) -> int:
    """What an intent's machine cost until it ended, or until now. From the order on: a machine
    that nobody saw yet costs as well."""
    if IntentState(row.state) in ENDED and row.machine_id is None:
        return 0
    return core.accrued_nano(row.cost_nano_hour, row.ordered_ns, row.ended_ns or now_ns)


def _risk(
    name: str,
    account: CloudAccount | None,
    sweep: CloudSweep | None,
    intents: tuple[Intent, ...],
    unknown: tuple[UnknownMachine, ...],
    now_ns: int,
) -> CloudRisk:
    maybe = [i for i in intents if IntentState(i.state) in STANDING | {IntentState.CREATING}]
    hour = sum(i.cost_nano_hour for i in maybe) + sum(u.cost_nano_hour for u in unknown)
    so_far = sum(intent_cost(i, now_ns) for i in maybe)
    so_far += sum(accrued_nano(u.cost_nano_hour, u.first_ns, now_ns) for u in unknown)
    return CloudRisk(name, account, sweep, intents, unknown, hour, so_far)
