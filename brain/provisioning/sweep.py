"""Looks at whole cloud accounts: what bears our tag and belongs to nobody is found and ended.

Only a listing that was complete says anything. Machines with other tags are never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from brain.clouds import Cloud, CloudError, Listing, Machine, MachineState, Unreadable
from brain.plumbing import Ctx, Tx, work
from brain.provisioning import core, store
from brain.provisioning.core import Stray
from brain.provisioning.models import CloudAccount, CloudSweep, Intent
from brain.provisioning.states import AccountEvent, IntentState, UnknownEvent, UnknownState
from brain.provisioning.strays import QUARANTINE_NS, YOUNG_NS, destroy, note
from brain.provisioning.turn import Terms, ask, note_account
from kernel.clock import NS

DESTROYED_MAX = 50  # in one sweep of one cloud
UNSEEN_NS = 1800 * NS  # an account that could not be listed for longer is told to people

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Swept:
    """What one look at one account found and did."""

    cloud: str
    complete: bool
    why: str = ""  # not complete, or nothing destroyed
    machines: int = 0
    ours: int = 0
    unknown: int = 0
    destroyed: int = 0


@dataclass(frozen=True)
class _Found:
    machines: int
    ours: int
    unknown: int
    frozen: str
    doomed: tuple[str, ...]
    newest_ns: int


async def sweep(ctx: Ctx, clouds: Mapping[str, Cloud], terms: Terms) -> list[Swept]:
    """Every account once, side by side. May run many times at once."""
    await _tell_missing(ctx, clouds)
    looks = (_sweep(ctx, cloud, terms) for cloud in clouds.values())
    done = await asyncio.gather(*looks, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            if not isinstance(result, Exception):
                raise result
            _log.error("sweep_failed", exc_info=result)
    return [result for result in done if isinstance(result, Swept)]


async def _sweep(ctx: Ctx, cloud: Cloud, terms: Terms) -> Swept:
    began_ns = ctx.clock.now_ns()
    await ctx.reach("provisioning.sweep_begun")
    listing, error = await _list(cloud)
    await ctx.reach("provisioning.sweep_listed")
    if listing is None:
        assert error is not None, "no list without a reason"
        result = Swept(cloud.name, complete=False, why=error.detail)
        await _record(ctx, result, began_ns, error)
        return result
    found = await _take_in(ctx, cloud.name, terms, listing)
    await ctx.reach("provisioning.sweep_taken_in")
    destroyed = 0
    for machine_id in found.doomed[:DESTROYED_MAX]:
        if found.frozen:
            break
        done = await destroy(ctx, terms, cloud, machine_id, newest_ns=found.newest_ns)
        destroyed += done
    await ctx.reach("provisioning.sweep_destroyed")
    result = Swept(
        cloud.name,
        complete=True,
        why=found.frozen,
        machines=found.machines,
        ours=found.ours,
        unknown=found.unknown,
        destroyed=destroyed,
    )
    await _record(ctx, result, began_ns, None)
    await ctx.reach("provisioning.sweep_recorded")
    return result


async def _list(cloud: Cloud) -> tuple[Listing | None, CloudError | None]:
    try:
        listing = await ask(cloud.listing())
    except CloudError as error:
        return None, error
    if not listing.complete:
        return None, Unreadable(f"Its list was not complete: {listing.why_incomplete}")
    return listing, None


async def _take_in(ctx: Ctx, cloud: str, terms: Terms, listing: Listing) -> _Found:
    """Compare the list with the database as it is now, which is newer than the list."""
    now_ns = ctx.clock.now_ns()
    ours = [m for m in listing.machines if _ours(terms, m)]
    async with ctx.db.begin() as tx:
        account = await store.account(tx, cloud, now_ns, lock=True)
        newest = await store.newest(tx)
        newest_ns = 0 if newest is None else core.born_ns(newest)
        alone = await store.running_alone(tx, cloud)
        strays = await _strays(
            tx, ctx, terms, [m for m in ours if m.machine_id not in alone], newest_ns
        )
        old = [one for one in strays if not _too_new(one, now_ns)]
        await _freeze(tx, account, old, len(ours), now_ns)
        for one in old:
            await note(tx, cloud, one.machine, one.why, now_ns)
            said = f"Machine {one.machine.machine_id} at {cloud} belongs to nobody: {one.why}."
            subject = f"machine {store.unknown_id(cloud, one.machine.machine_id)}"
            await store.raise_alert(tx, cloud, subject, "unknown", said, now_ns)
        listed = {m.machine_id for m in listing.machines if m.state != MachineState.TERMINATED}
        stray_ids = {one.machine.machine_id for one in strays}
        doomed = await _settle(tx, cloud, listed, stray_ids, now_ns)
        account.listed_ns = now_ns
        frozen = account.frozen_reason if account.frozen_ns is not None else ""
        await ctx.reach("provisioning.sweep_saving")
    return _Found(len(listing.machines), len(ours), len(old), frozen, doomed, newest_ns)


def _ours(terms: Terms, machine: Machine) -> bool:
    tagged = core.read_tag(terms.installation_id, machine.tag) is not None
    return tagged and machine.state is not MachineState.TERMINATED


def _too_new(one: Stray, now_ns: int) -> bool:
    """So new that what made it may still be at work, or that ended so lately that the list may
    not know. A cloud's clock may be wrong: what it says is of the future is not new."""
    return any(
        ns is not None and 0 <= now_ns - ns < YOUNG_NS
        for ns in (one.machine.created_ns, one.ended_ns)
    )


async def _strays(
    tx: Tx, ctx: Ctx, terms: Terms, ours: Sequence[Machine], newest_ns: int
) -> list[Stray]:
    """Machines of ours that no intent owns; the intents that look for theirs are woken."""
    tags = {m.machine_id: core.read_tag(terms.installation_id, m.tag) for m in ours}
    named = {tag.intent_id for tag in tags.values() if tag is not None}
    owners = await store.owners(tx, named)
    found = []
    for machine in ours:
        tag = tags[machine.machine_id]
        assert tag is not None, "ours have a tag that can be read"
        owner = owners.get(tag.intent_id)
        one = core.stray(tag, machine, owner, newest_ns)
        if one is not None:
            found.append(one)
        elif owner is not None and owner.state is IntentState.CREATING:
            await work.nudge(tx, Intent, tag.intent_id, ctx.clock.now())
    return found


async def _freeze(
    tx: Tx, account: CloudAccount, strays: Sequence[Stray], ours: int, now_ns: int
) -> None:
    """Destruction waits for a person where it looks as if the mistake were ours."""
    if account.frozen_ns is not None:
        return
    why = core.why_frozen(strays, account.allowed_unknown, ours)
    if not why and await store.database_mark(tx) != account.database_mark:
        why = "the database is not the one that it was: it was restored or taken over"
    if why:
        await freeze(tx, account, why, now_ns)


async def freeze(tx: Tx, account: CloudAccount, why: str, now_ns: int) -> None:
    """From now on nothing unknown is destroyed at this cloud. Holds the account's row."""
    account.frozen_ns, account.frozen_reason = now_ns, why[:500]
    await tx.flush()
    said = f"Nothing unknown is destroyed at {account.cloud} before a person looked: {why}."
    await store.raise_alert(tx, account.cloud, f"account {account.cloud}", "frozen", said, now_ns)
    _log.error("destruction_frozen", cloud=account.cloud, reason=why)


async def unfreeze(tx: Tx, account: CloudAccount, now_ns: int) -> None:
    """A person looked: what is unknown now may be destroyed, from this database."""
    rows = await store.unknowns(tx, account.cloud)
    account.frozen_ns, account.frozen_reason = None, ""
    account.allowed_unknown = [row.machine_id for row in rows]
    account.database_mark = await store.database_mark(tx)
    await tx.flush()
    await store.close_alert(tx, f"account {account.cloud}", "frozen", now_ns)


async def _settle(
    tx: Tx, cloud: str, listed: set[str], strays: set[str], now_ns: int
) -> tuple[str, ...]:
    """Unknown machines of before: gone, owned after all, or to go. Returns those to go."""
    doomed = []
    for row in await store.unknowns(tx, cloud):
        event = None
        if row.machine_id not in listed:
            event, said = UnknownEvent.GONE, "the cloud lists it no more"
            row.ended_ns = now_ns
        elif row.machine_id not in strays and row.state == UnknownState.QUARANTINED.value:
            event, said = UnknownEvent.ADOPT, "its intent owns it after all"
        if event is not None:
            await tx.flush()
            await store.move_unknown(tx, row, event, said, now_ns)
            await store.close_alert(tx, f"machine {row.unknown_id}", "unknown", now_ns)
        elif row.state == UnknownState.DESTROYING.value or now_ns >= row.first_ns + QUARANTINE_NS:
            doomed.append(row.machine_id)
    return tuple(doomed)


async def _record(ctx: Ctx, result: Swept, began_ns: int, error: CloudError | None) -> None:
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await note_account(tx, ctx, result.cloud, error)
        await store.add_sweep(
            tx,
            CloudSweep(
                cloud=result.cloud,
                began_ns=began_ns,
                ended_ns=now_ns,
                complete=result.complete,
                why=result.why[:500],
                machines=result.machines,
                ours=result.ours,
                unknown=result.unknown,
                destroyed=result.destroyed,
            ),
        )
        await _tell_unseen(tx, result, now_ns)


async def _tell_unseen(tx: Tx, result: Swept, now_ns: int) -> None:
    """An account that cannot be listed hides what it costs."""
    account = await store.account(tx, result.cloud, now_ns)
    subject = f"account {result.cloud}"
    if result.complete:
        await store.close_alert(tx, subject, "unseen", now_ns)
        return
    living = await store.living(tx, result.cloud)
    since_ns = account.listed_ns
    if living and (since_ns is None or now_ns >= since_ns + UNSEEN_NS):
        said = f"{result.cloud} could not be listed for long; {len(living)} machines may stand."
        await store.raise_alert(tx, result.cloud, subject, "unseen", said, now_ns)


async def _tell_missing(ctx: Ctx, clouds: Mapping[str, Cloud]) -> None:
    """Credentials that were taken away while machines stand: nobody can end these any more."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        standing = [i.cloud for i in await store.living(tx)]
        standing += [u.cloud for u in await store.unknowns(tx)]
        for name in sorted(set(standing) - set(clouds)):
            count = standing.count(name)
            said = (
                f"The credentials of {name} were taken out of the settings while {count} machines"
                " of it may stand. Put them back until these are gone."
            )
            row = await store.account(tx, name, now_ns, lock=True)
            await store.move_account(tx, row, AccountEvent.REMOVE, said, now_ns)
            await store.raise_alert(tx, name, f"account {name}", "account", said, now_ns)
