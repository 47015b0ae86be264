"""Machines with our tag that belong to no intent: kept in sight until they are gone."""

from __future__ import annotations

from collections.abc import Iterable

from brain.clouds import Cloud, CloudError, Machine, MachineMissing, MachineState
from brain.plumbing import Ctx, Tx
from brain.provisioning import core, store
from brain.provisioning.models import Intent, UnknownMachine
from brain.provisioning.states import UnknownEvent, UnknownState
from brain.provisioning.turn import Terms, ask
from kernel.clock import NS

QUARANTINE_NS = 900 * NS
YOUNG_NS = 120 * NS  # a machine that is younger is left alone


async def destroy_spares(tx: Tx, ctx: Ctx, row: Intent, spares: Iterable[Machine]) -> None:
    """More machines than one bear an intent's tag: all but its own are to go, now."""
    now_ns = ctx.clock.now_ns()
    for machine in spares:
        if machine.state is MachineState.TERMINATED:
            continue
        known = await note(tx, row.cloud, machine, f"{row.machine_id} has the same tag", now_ns)
        if known.state == UnknownState.QUARANTINED.value:
            said = "another machine of the same order is kept"
            await store.move_unknown(tx, known, UnknownEvent.DESTROY, said, now_ns)


async def end_spares(ctx: Ctx, terms: Terms, cloud: Cloud, spares: Iterable[Machine]) -> None:
    """Ask for the end of spares that :func:`destroy_spares` wrote down; the sweeps go on."""
    for machine in spares:
        if machine.state is not MachineState.TERMINATED:
            await destroy(ctx, terms, cloud, machine.machine_id, newest_ns=0)


async def note(tx: Tx, cloud: str, machine: Machine, why: str, now_ns: int) -> UnknownMachine:
    """The row of an unknown machine, made when it is first seen."""
    row = await store.unknown(tx, cloud, machine.machine_id, lock=True)
    if row is None:
        fresh = UnknownMachine(
            unknown_id=store.unknown_id(cloud, machine.machine_id),
            cloud=cloud,
            machine_id=machine.machine_id,
            tag=machine.tag,
            why=why,
            cost_nano_hour=max(machine.cost_nano_hour or 0, 0),
            first_ns=now_ns,
            last_ns=now_ns,
            last_error="",
        )
        return await store.add_unknown(tx, fresh, now_ns)
    if row.state in (UnknownState.GONE.value, UnknownState.ADOPTED.value):
        row.first_ns, row.asked_ns, row.ended_ns = now_ns, None, None
        await tx.flush()
        await store.move_unknown(tx, row, UnknownEvent.RETURN, f"listed again: {why}", now_ns)
    row.last_ns, row.why = now_ns, why
    row.cost_nano_hour = max(machine.cost_nano_hour or row.cost_nano_hour, 0)
    await tx.flush()
    return row


async def destroy(ctx: Ctx, terms: Terms, cloud: Cloud, machine_id: str, *, newest_ns: int) -> bool:
    """End one unknown machine, read anew at the cloud and in the database just before.

    True when its end was asked for. It stays in sight until a listing lacks it.
    """
    await ctx.reach("provisioning.stray_before_read")
    try:
        machine = await ask(cloud.machine(machine_id))
    except MachineMissing:
        return False  # the next complete listing says whether it is gone
    except CloudError as error:
        await _failed(ctx, cloud.name, machine_id, error)
        return False
    await ctx.reach("provisioning.stray_read")
    if not await _may_go(ctx, terms, cloud.name, machine, newest_ns):
        return False
    await ctx.reach("provisioning.stray_before_terminate")
    try:
        await ask(cloud.terminate(machine_id))
    except MachineMissing:
        return True
    except CloudError as error:
        await _failed(ctx, cloud.name, machine_id, error)
        return False
    await ctx.reach("provisioning.stray_terminated")
    return True


async def _may_go(ctx: Ctx, terms: Terms, cloud: str, machine: Machine, newest_ns: int) -> bool:
    """Is it still ours, still nobody's, and is destruction still allowed? Then say so first."""
    now_ns = ctx.clock.now_ns()
    tag = core.read_tag(terms.installation_id, machine.tag)
    if tag is None or machine.state in (MachineState.TERMINATING, MachineState.TERMINATED):
        return False
    async with ctx.db.begin() as tx:
        account = await store.account(tx, cloud, now_ns)
        owner = (await store.owners(tx, [tag.intent_id])).get(tag.intent_id)
        row = await store.unknown(tx, cloud, machine.machine_id, lock=True)
        if account.frozen_ns is not None or row is None:
            return False
        if core.stray(tag, machine, owner, newest_ns) is None:
            if row.state in (UnknownState.QUARANTINED.value, UnknownState.DESTROYING.value):
                said = "its intent owns it after all"
                await store.move_unknown(tx, row, UnknownEvent.ADOPT, said, now_ns)
            return False
        if row.state == UnknownState.QUARANTINED.value:
            if now_ns < row.first_ns + QUARANTINE_NS:
                return False
            said = "unknown for 15 minutes"
            await store.move_unknown(tx, row, UnknownEvent.DESTROY, said, now_ns)
        if row.state != UnknownState.DESTROYING.value:
            return False
        row.asked_ns = now_ns
        row.last_error = ""
        await ctx.reach("provisioning.stray_saving")
    return True


async def _failed(ctx: Ctx, cloud: str, machine_id: str, error: CloudError) -> None:
    async with ctx.db.begin() as tx:
        row = await store.unknown(tx, cloud, machine_id, lock=True)
        if row is not None:
            row.last_error = error.detail
