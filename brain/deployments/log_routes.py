"""HTTP of logs: what the workers of a deployment wrote, live and past, page by page or followed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from brain import fleet
from brain.deployments import service, store
from brain.deployments.routes import CtxIn, IdIn, Reader, own_deployment
from brain.edge import decode_cursor, encode_cursor
from brain.identity import Principal
from brain.plumbing import Ctx
from kernel.clock import NS, at_ns
from kernel.errors import BadInput, LimitReached, NotFound
from kernel.ids import AccountId, ReplicaId

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])

LINES_MAX = fleet.READ_MAX
FOLLOW_SECONDS_MAX = 600  # then the client connects again, from where it was
LOOK_SECONDS = 0.5
LOOK_LINES = 200  # of each replica, at one look
TAIL = 100
BEAT_SECONDS = 10
FOLLOWERS_MAX = 4  # of one account, in one process
FOLLOWERS_ALL_MAX = 200  # in one process
_AGO = re.compile(r"(\d{1,6})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BEAT = b'{"beat": true}\n'
_following: Counter[AccountId] = Counter()


class LogLineOut(BaseModel):
    """``number`` rises by one from line to line of a replica: a gap is lines that were dropped."""

    replica_id: str
    number: int
    at: datetime
    stream: str
    text: str


class LogsOut(BaseModel):
    """``next`` is given where more of what was written is to come."""

    items: list[LogLineOut]
    next: str | None = None


@router.get(
    "/{deployment_id}/logs",
    response_model=LogsOut,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
async def logs(
    deployment_id: IdIn,
    principal: Reader,
    ctx: CtxIn,
    tail: Annotated[
        int | None, Query(ge=0, le=LINES_MAX, description="The newest so many lines; 100.")
    ] = None,
    replica: Annotated[
        str | None, Query(max_length=100, description="Only this one's, ended or not.")
    ] = None,
    since: Annotated[
        str | None,
        Query(max_length=40, description="Not before: `10m`, `2h`, or a time with its zone."),
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=LINES_MAX, description="Page by page, the oldest first.")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next` of the page before.")
    ] = None,
    follow: Annotated[
        bool, Query(description="As NDJSON, a line each, until the client leaves; 10 min at most.")
    ] = False,
) -> object:
    """What the workers wrote, in the order of time; of replicas that ended too, while it is kept.

    Without ``limit`` and ``cursor``: the newest lines. With ``follow``: these, then what comes;
    ``{"beat": true}`` in between says that the connection lives.
    """
    since_ns = since_time(since, ctx.clock.now_ns())
    by_lease = await _leases(ctx, deployment_id, principal, replica)
    if follow:
        if limit is not None or cursor is not None:
            raise BadInput("follow goes with tail and since, not with pages.", param="follow")
        check_room(principal.account_id)
        tail = TAIL if tail is None else tail
        lines = follow_lines(ctx, Asked(deployment_id, principal, replica, since_ns, tail))
        return StreamingResponse(lines, media_type="application/x-ndjson")
    if limit is None and cursor is None:
        async with ctx.db.begin() as tx:
            tail = TAIL if tail is None else tail
            rows = await fleet.tail_logs(tx, list(by_lease), tail=tail, since_ns=since_ns)
        return LogsOut(items=_show(rows, by_lease))
    if tail is not None:
        raise BadInput("tail goes with follow or alone, not with pages.", param="tail")
    limit = limit or TAIL
    async with ctx.db.begin() as tx:
        rows = await fleet.page_of_logs(
            tx, list(by_lease), limit=limit + 1, after=_after(cursor), since_ns=since_ns
        )
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor(str(last.at_ns), last.lease_id, str(last.number)) if last else None
    return LogsOut(items=_show(rows[:limit], by_lease), next=following)


@dataclass(frozen=True)
class Asked:
    """Whose lines somebody follows."""

    deployment_id: str
    principal: Principal
    replica: str | None
    since_ns: int
    tail: int


async def follow_lines(ctx: Ctx, asked: Asked) -> AsyncGenerator[bytes, None]:
    """One NDJSON line a log line, as they come: of replicas that start meanwhile too. Ends after
    ``FOLLOW_SECONDS_MAX``, or when the deployment is put away."""
    account = asked.principal.account_id
    _following[account] += 1
    try:
        until_ns = ctx.clock.monotonic_ns() + FOLLOW_SECONDS_MAX * NS
        newest: dict[str, int] = {}
        said_ns: int | None = None
        while ctx.clock.monotonic_ns() < until_ns:
            by_lease = await _leases(ctx, asked.deployment_id, asked.principal, asked.replica)
            rows = await _fresh(ctx, asked, by_lease, newest, first=said_ns is None)
            for line in _show(rows, by_lease):
                yield line.model_dump_json().encode() + b"\n"
            now_ns = ctx.clock.monotonic_ns()
            if rows or said_ns is None or now_ns - said_ns >= BEAT_SECONDS * NS:
                said_ns = now_ns
                yield _BEAT
            if len(rows) < LOOK_LINES:
                await ctx.clock.sleep(LOOK_SECONDS)
    except NotFound:
        return
    finally:
        _following[account] -= 1
        if not _following[account]:
            del _following[account]


async def _fresh(
    ctx: Ctx, asked: Asked, by_lease: dict[str, str], newest: dict[str, int], *, first: bool
) -> list[fleet.LogRow]:
    """The tail at the first look, then what came since; ``newest`` is brought up to it."""
    async with ctx.db.begin() as tx:
        if first:
            newest.update(await fleet.newest_logs(tx, list(by_lease)))
            rows = await fleet.tail_logs(
                tx, list(by_lease), tail=asked.tail, since_ns=asked.since_ns
            )
        else:
            known = {lease: newest.get(lease, -1) for lease in by_lease}
            rows = await fleet.new_logs(tx, known, limit=LOOK_LINES)
    for row in rows:
        newest[row.lease_id] = max(newest.get(row.lease_id, -1), row.number)
    return rows


def check_room(account_id: AccountId) -> None:
    """``LimitReached`` when the account, or the process, has as many followers as it may."""
    if _following[account_id] >= FOLLOWERS_MAX or _following.total() >= FOLLOWERS_ALL_MAX:
        raise LimitReached(
            f"{FOLLOWERS_MAX} streams of logs may be followed at once; end one first.",
            retry_after=5,
        )


def since_time(text: str | None, now_ns: int) -> int:
    """``10m`` is ten minutes ago; a time is ISO 8601 with its zone. Nothing: from the start."""
    if text is None:
        return 0
    ago = _AGO.match(text)
    if ago is not None:
        return max(0, now_ns - int(ago[1]) * _SECONDS[ago[2]] * NS)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadInput("since is such as 10m, 2h or 2026-01-31T12:00:00Z.", param="since")
    return max(0, int(at.timestamp() * 1_000_000) * 1000)


async def _leases(
    ctx: Ctx, deployment_id: str, principal: Principal, replica: str | None
) -> dict[str, str]:
    """The replica of each lease whose lines are asked for, the newest replicas only."""
    wanted = None if replica is None else ReplicaId.parse(replica)
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        found = await service.whole(tx, row)
        replicas = found.replicas
        if wanted is not None:
            replicas = [r for r in replicas if r.replica_id == wanted]
            if not replicas:  # one that ended long ago
                older = await store.replica(tx, wanted)
                if older is None or older.deployment_id != row.deployment_id:
                    raise NotFound(f"This deployment has no replica {wanted}.")
                replicas = [older]
    return {str(r.lease_id): str(r.replica_id) for r in replicas if r.lease_id is not None}


def _after(cursor: str | None) -> tuple[int, str, int] | None:
    if cursor is None:
        return None
    parts = decode_cursor(cursor)
    numbers = len(parts) == 3 and all(p.isdigit() and len(p) < 20 for p in (parts[0], parts[2]))
    if not numbers:
        raise BadInput("This cursor belongs to another list.", param="cursor")
    return int(parts[0]), parts[1], int(parts[2])


def _show(rows: Sequence[fleet.LogRow], by_lease: dict[str, str]) -> list[LogLineOut]:
    return [
        LogLineOut(
            replica_id=by_lease[row.lease_id],
            number=row.number,
            at=at_ns(row.at_ns),
            stream=row.stream,
            text=row.text,
        )
        for row in rows
    ]
