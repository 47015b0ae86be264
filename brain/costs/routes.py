"""HTTP of costs: what work costs us beside what it brings, an account's own charges, and what
clouds billed. CSV of each table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from brain.billing import table_text
from brain.costs import bills, sums
from brain.costs.charged import by_key, charged
from brain.costs.names import titles
from brain.costs.schemas import (
    ChargeLineView,
    ChargesView,
    CostLineView,
    CostsView,
    StatementBody,
    StatementView,
    TakenView,
)
from brain.costs.spent import spent
from brain.costs.sums import By
from brain.edge import get_ctx
from brain.identity import Principal, admin_user, anyone
from brain.plumbing import Ctx, Tx, audit
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import AccountId
from kernel.money import TICKS_PER_GPU_NS, Money

router = APIRouter(prefix="/api/v1", tags=["costs"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]
CloudIn = Annotated[str, Path(max_length=60, pattern=r"^[a-z0-9_-]+$")]
DAYS = 30
SPAN_MAX = timedelta(days=400)
OWN_BY = sums.CHARGED_BY | {By.KEY}


@dataclass(frozen=True)
class Asked:
    """Which time a table is of."""

    since: datetime | None
    until: datetime | None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """The last thirty days with this moment, where nothing else is asked for."""
        soon = now + timedelta(microseconds=1)
        until = soon if self.until is None else self.until.astimezone(UTC)
        since = until - timedelta(days=DAYS) if self.since is None else self.since.astimezone(UTC)
        if not since < until <= since + SPAN_MAX:
            raise BadInput("Ask for a time of at most 400 days.", param="since")
        return since, until


def asked_time(
    since: Annotated[AwareDatetime | None, Query(description="Included.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not included.")] = None,
) -> Asked:
    """FastAPI dependency."""
    return Asked(since, until)


AskedIn = Annotated[Asked, Depends(asked_time)]


@router.get("/admin/costs")
async def costs(principal: AdminIn, ctx: CtxIn, asked: AskedIn, by: By = By.DAY) -> CostsView:
    """What work cost us, beside what was charged for it where that is known."""
    async with ctx.db.begin() as tx:
        return await _costs(tx, ctx, asked, by)


@router.get("/admin/costs.csv", response_class=Response)
async def costs_csv(principal: AdminIn, ctx: CtxIn, asked: AskedIn, by: By = By.DAY) -> Response:
    """The same as CSV."""
    async with ctx.db.begin() as tx:
        found = await _costs(tx, ctx, asked, by)
    rows = [
        (
            line.name,
            line.title,
            table_text.decimal_dollars(line.cost_nano),
            "" if line.charged_nano is None else table_text.decimal_dollars(line.charged_nano),
            "" if line.margin_nano is None else table_text.decimal_dollars(line.margin_nano),
        )
        for line in found.lines
    ]
    return _csv("costs", (by.value, "title", "cost_usd", "charged_usd", "margin_usd"), rows)


async def _costs(tx: Tx, ctx: Ctx, asked: Asked, by: By) -> CostsView:
    since, until = asked.span(ctx.clock.now())
    known = by in sums.CHARGED_BY
    charges = await charged(tx, since, until) if known else []
    found = sums.lines(await spent(tx, by.value, _hour(since), until), charges, by)
    called = await titles(tx, by, [line.name for line in found])
    cost = sum(line.cost_nano for line in found)
    income = sum(one.nano for one in charges) if known else None
    return CostsView(
        by=by,
        since=since,
        until=until,
        lines=[CostLineView.of(line, called[line.name]) for line in found],
        cost_nano=cost,
        cost_usd=str(Money(cost)),
        charged_nano=income,
        charged_usd=None if income is None else str(Money(income)),
    )


def _hour(at: datetime) -> datetime:
    """Costs are kept by the hour: the one that is asked into counts whole."""
    return at.replace(minute=0, second=0, microsecond=0)


@router.get("/billing/costs")
async def charges(principal: ReaderIn, ctx: CtxIn, asked: AskedIn, by: By = By.DAY) -> ChargesView:
    """What the account was charged, by day, deployment, pod, volume, model, kind or API key."""
    async with ctx.db.begin() as tx:
        return await _charges(tx, ctx, principal.account_id, asked, by)


@router.get("/billing/costs.csv", response_class=Response)
async def charges_csv(principal: ReaderIn, ctx: CtxIn, asked: AskedIn, by: By = By.DAY) -> Response:
    """The same as CSV."""
    async with ctx.db.begin() as tx:
        found = await _charges(tx, ctx, principal.account_id, asked, by)
    rows = [
        (line.name, line.title, table_text.decimal_dollars(line.nano), line.gpu_seconds or "")
        for line in found.lines
    ]
    return _csv("charges", (by.value, "title", "charged_usd", "gpu_seconds"), rows)


async def _charges(tx: Tx, ctx: Ctx, account: AccountId, asked: Asked, by: By) -> ChargesView:
    if by not in OWN_BY:
        allowed = ", ".join(sorted(one.value for one in OWN_BY))
        raise BadInput(f"Ask by one of: {allowed}.", param="by")
    since, until = asked.span(ctx.clock.now())
    lines = (
        await _by_key(tx, account, since, until)
        if by is By.KEY
        else await _by(tx, account, since, until, by)
    )
    nano = sum(line.nano for line in lines)
    return ChargesView(
        by=by, since=since, until=until, lines=lines, nano=nano, usd=str(Money(nano))
    )


async def _by(
    tx: Tx, account: AccountId, since: datetime, until: datetime, by: By
) -> list[ChargeLineView]:
    told = sums.charged_lines(await charged(tx, since, until, account), by)
    called = await titles(tx, by, list(told))
    found = [
        ChargeLineView(name=name, title=called[name], nano=nano, usd=str(Money(nano)))
        for name, nano in told.items()
    ]
    if by is By.DAY:
        return sorted(found, key=lambda line: line.name)
    return sorted(found, key=lambda line: (-line.nano, line.name))


async def _by_key(
    tx: Tx, account: AccountId, since: datetime, until: datetime
) -> list[ChargeLineView]:
    used = await by_key(tx, account, since.date(), until.date())
    called = await titles(tx, By.KEY, [one.key_id for one in used])
    found = [
        ChargeLineView(
            name=one.key_id,
            title=called[one.key_id],
            nano=one.nano,
            usd=str(Money(one.nano)),
            requests=one.requests,
            gpu_seconds=f"{one.ticks / TICKS_PER_GPU_NS / NS:.3f}",
        )
        for one in used
    ]
    return sorted(found, key=lambda line: (-line.nano, line.name))


def _csv(name: str, head: Sequence[str], rows: Collection[Sequence[str]]) -> Response:
    return Response(
        table_text.lines([head, *rows]),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )


@router.get("/admin/cloud-bills")
async def cloud_bills(principal: AdminIn, ctx: CtxIn) -> list[StatementView]:
    """What clouds billed, statement by statement, beside what we recorded of their machines."""
    async with ctx.db.begin() as tx:
        return [StatementView.of(one) for one in await bills.statements(tx, ctx.clock.now_ns())]


@router.post("/admin/cloud-bills/{cloud}", status_code=201)
async def take_cloud_bill(
    body: StatementBody, principal: AdminIn, ctx: CtxIn, cloud: CloudIn
) -> TakenView:
    """Take in a vendor's statement, or a part of one. A repeat adds nothing."""
    async with ctx.db.begin() as tx:
        done = await bills.take(
            tx,
            ctx.clock.now(),
            cloud,
            body.statement,
            [one.value() for one in body.lines],
            only_ours=body.only_ours,
            replace=body.replace,
        )
        detail: audit.Detail = {"statement": body.statement, "added": done.added}
        await audit.record(tx, ctx, principal.actor, "costs.cloud_bill", cloud, detail)
    return TakenView(added=done.added, known=done.known, left_out=done.left_out)
