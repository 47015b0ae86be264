"""What the books know of a gateway's boot, and of one request of it."""

from __future__ import annotations

from sqlalchemy import exists, or_, select

from brain.billing.models import GatewayBoot, ParkedSegment, UsageSegment
from brain.plumbing import Tx
from kernel.ids import AccountId


async def gateway_boot(tx: Tx, boot_id: str) -> tuple[int, bool]:
    """When it was last heard, and whether it is closed: ended, with all that it counted here.
    A boot that never said hello was never heard."""
    row = (
        await tx.execute(
            select(GatewayBoot.seen_ns, GatewayBoot.closed).where(GatewayBoot.boot_id == boot_id)
        )
    ).one_or_none()
    return (0, False) if row is None else (row.seen_ns, row.closed)


async def request_began(tx: Tx, account_id: AccountId, request_id: str) -> bool:
    """Whether a worker was given this request, as far as gateways have told."""
    counted = exists().where(
        UsageSegment.account_id == account_id, UsageSegment.request_id == request_id
    )
    parked = exists().where(ParkedSegment.payload["request_id"].astext == request_id)
    return bool(await tx.scalar(select(or_(counted, parked))))
