"""Asks each cloud for its offers at its own pace and keeps what can be believed.

No transaction is open while a cloud is asked. A cloud that fails keeps its old offers: they grow
older, and are planned with until they are too old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from brain.clouds import (
    Broke,
    Cloud,
    CloudError,
    CredentialsRefused,
    HasBalance,
    Throttled,
)
from brain.offers import store
from brain.offers.core import breaker
from brain.offers.core.belief import Believed, NotBelieved, believe
from brain.offers.core.breaker import Outcome, OutcomeKind, Scope
from brain.offers.models import OfferRefresh
from brain.offers.ports import Waiting
from brain.offers.service import record
from brain.plumbing import Ctx, Tx
from brain.plumbing.work import finish, take
from kernel.clock import NS
from kernel.ids import WorkId

CALL_SECONDS_MAX = 25
LEASE_SECONDS = 60
PACE_SECONDS = 30
PACE_SECONDS_MAX = 300
STEP_SECONDS = 1.0  # how long one look for due clouds waits for those under way
RUN_SECONDS_MAX = 30  # no cloud is asked later in one call
ACCOUNT_KINDS = (OutcomeKind.CREDENTIALS,)  # lifted as soon as the cloud knows us again
GONE_KEPT_NS = 86_400 * NS
MODELS_KEPT_NS = 7 * 86_400 * NS
NOBODY_WAITS = Waiting()

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Answer:
    """What one call gave: offers, or a failure in words."""

    cloud: str
    asked_ns: int
    believed: Believed | None = None
    failure: str = ""
    outcome: Outcome | None = None  # what the failure says of the whole cloud
    account_fine: bool = False  # the cloud was asked about our account, and knows it


async def refresh_due(
    ctx: Ctx, clouds: Mapping[str, Cloud], *, owner: str = "", waiting: Waiting = NOBODY_WAITS
) -> int:
    """Refresh every cloud that is due; return how many answers were saved.

    A slow cloud keeps this call open for a while, but no other cloud waits for it. May run many
    times at once: a cloud is asked by one at a time.
    """
    if not clouds:
        return 0
    async with ctx.db.begin() as tx:
        await store.ensure_refreshes(tx, sorted(clouds), ctx.clock.now())
    begun_ns = ctx.clock.monotonic_ns()
    running: set[asyncio.Task[bool]] = set()
    saved = 0
    try:
        while True:
            if ctx.clock.monotonic_ns() - begun_ns < RUN_SECONDS_MAX * NS:
                running |= await _begin_due(ctx, clouds, owner, waiting)
            if not running:
                return saved
            done, running = await asyncio.wait(
                running, timeout=STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            saved += sum(task.result() for task in done)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _begin_due(
    ctx: Ctx, clouds: Mapping[str, Cloud], owner: str, waiting: Waiting
) -> set[asyncio.Task[bool]]:
    token = str(ctx.ids.new(WorkId))
    async with ctx.db.begin() as tx:
        rows = await take(
            tx,
            OfferRefresh,
            now=ctx.clock.now(),
            owner=owner,
            token=token,
            lease_seconds=LEASE_SECONDS,
            limit=len(clouds),
            where=[OfferRefresh.cloud.in_(sorted(clouds))],
        )
        blocked = {row.cloud: await _account_blocked(tx, row.cloud) for row in rows}
    return {
        asyncio.create_task(
            _refresh(ctx, clouds[row.cloud], row, token, waiting, blocked[row.cloud]),
            name=f"offers of {row.cloud}",
        )
        for row in rows
    }


async def _account_blocked(tx: Tx, cloud: str) -> bool:
    return bool(await store.blocks_of(tx, cloud, ACCOUNT_KINDS))


async def _refresh(
    ctx: Ctx, cloud: Cloud, row: OfferRefresh, token: str, waiting: Waiting, blocked: bool
) -> bool:
    answer = await _ask(ctx, cloud, blocked)
    try:
        async with ctx.db.begin() as tx:
            again = timedelta(seconds=_pace_seconds(row, answer))
            if not await finish(tx, row, token, due_at=ctx.clock.now() + again):
                raise _TakenOver
            await _save(tx, row, answer, ctx.clock.now_ns(), waiting)
    except _TakenOver:
        return False
    if answer.failure:
        _log.warning("offers_not_refreshed", cloud=answer.cloud, detail=answer.failure)
    return True


class _TakenOver(Exception):
    """The row's lease ran out meanwhile: another's answer counts."""


async def _ask(ctx: Ctx, cloud: Cloud, blocked: bool) -> _Answer:
    """Call the cloud. Whatever goes wrong there becomes words."""
    name, asked_ns = cloud.name, ctx.clock.now_ns()
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            told = await cloud.offers()
            fine = blocked and await _account_fine(cloud)
        return _Answer(name, asked_ns, believed=believe(name, told), account_fine=fine)
    except TimeoutError:
        return _Answer(name, asked_ns, failure=f"It did not answer within {CALL_SECONDS_MAX} s.")
    except NotBelieved as lie:
        return _Answer(name, asked_ns, failure=str(lie))
    except CloudError as error:
        return _Answer(name, asked_ns, failure=error.detail, outcome=_outcome(name, error))
    except Exception as error:  # an adapter's own mistake must not stop the other clouds
        _log.exception("adapter_failed", cloud=name)
        return _Answer(name, asked_ns, failure=f"Its adapter failed: {type(error).__name__}.")


async def _account_fine(cloud: Cloud) -> bool:
    """Does the cloud know us again? Asked only while it did not, of what needs the account."""
    if isinstance(cloud, HasBalance):
        await cloud.balance_nano()
        return True
    return (await cloud.listing()).complete


def _outcome(cloud: str, error: CloudError) -> Outcome | None:
    kinds = (
        (CredentialsRefused, OutcomeKind.CREDENTIALS),
        (Broke, OutcomeKind.BROKE),
        (Throttled, OutcomeKind.THROTTLED),
    )
    for kind_of_error, kind in kinds:
        if isinstance(error, kind_of_error):
            after = error.retry_after if isinstance(error, Throttled) else None
            return Outcome(cloud, "", "", "", kind, detail=error.detail, retry_after=after)
    return None


def _pace_seconds(row: OfferRefresh, answer: _Answer) -> float:
    """Failures are asked again more and more slowly; a cloud that says when is believed."""
    if not answer.failure:
        return PACE_SECONDS
    slower = min(PACE_SECONDS_MAX, PACE_SECONDS << min(row.failures, 10))
    if answer.outcome is not None and answer.outcome.retry_after is not None:
        return min(max(1.0, answer.outcome.retry_after), float(PACE_SECONDS_MAX))
    return slower


async def _save(tx: Tx, row: OfferRefresh, answer: _Answer, now_ns: int, waiting: Waiting) -> None:
    cloud = answer.cloud
    if answer.believed is None:
        await store.save_refresh(
            tx, cloud, tried_ns=now_ns, failures=row.failures + 1, failure=answer.failure[:500]
        )
        if answer.outcome is not None:
            await record(tx, answer.outcome, now_ns)
        return
    saved = await store.save_offers(tx, cloud, answer.believed.offers, now_ns)
    await store.save_refresh(
        tx,
        cloud,
        ok_ns=answer.asked_ns,
        tried_ns=now_ns,
        failures=0,
        failure="",
        refused=answer.believed.refused[:500],
        changes=row.changes + bool(saved.changed),
    )
    if answer.account_fine:
        for block in await store.blocks_of(tx, cloud, ACCOUNT_KINDS):
            await store.drop_block(tx, block)
    if saved.came or answer.account_fine:
        await _reopen(tx, cloud, saved.came, answer.asked_ns)
        await waiting.capacity_appeared(tx)
    await store.forget(
        tx, now_ns, gone_before_ns=now_ns - GONE_KEPT_NS, served_before_ns=now_ns - MODELS_KEPT_NS
    )


async def _reopen(tx: Tx, cloud: str, came: tuple[Scope, ...], asked_ns: int) -> None:
    """What was blocked for want of the capacity that came up may be tried at once."""
    for block in await store.blocks_of(tx, cloud, (OutcomeKind.NO_CAPACITY,)):
        for place in came:
            then = breaker.appeared(block, place, asked_ns)
            if then is not None:
                await store.save_block(tx, then)
                break
