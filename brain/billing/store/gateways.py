"""Gateway boots, their watermarks, and when the brain was able to receive."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Boolean, Integer, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from brain.billing.core.coverage import Boot, Receiving
from brain.billing.models import GatewayBoot, ReceivingGap
from brain.billing.models import Receiving as ReceivingRow
from brain.billing.models import Watermark as WatermarkRow
from brain.plumbing import Tx
from kernel.wire.gateway import Watermark

GAP_NS = 5_000_000_000  # the receiving beat comes once a second; longer than this is an absence

_HELLO = text(
    """
    INSERT INTO gateway_boot (boot_id, gateway, offset_ns, hello_ns, seen_ns, stated_ns, closed)
    VALUES (:boot, :gateway, :offset, :now, :now, :now, false)
    ON CONFLICT (boot_id) DO UPDATE SET seen_ns = greatest(gateway_boot.seen_ns, excluded.seen_ns)
    RETURNING offset_ns
    """
)

_WATERMARKS = text(
    """
    INSERT INTO watermark (boot_id, replica_id, until_ns, stated_ns, in_flight, draining)
    SELECT CAST(:boot AS text), w.replica, w.until, CAST(:stated AS bigint), w.in_flight, w.draining
    FROM unnest(:replicas, :untils, :in_flights, :drainings)
         AS w(replica, until, in_flight, draining) ORDER BY w.replica
    ON CONFLICT (boot_id, replica_id) DO UPDATE
    SET until_ns = greatest(watermark.until_ns, excluded.until_ns),
        stated_ns = excluded.stated_ns, in_flight = excluded.in_flight,
        draining = excluded.draining
    WHERE watermark.stated_ns <= excluded.stated_ns
    """
).bindparams(
    bindparam("replicas", type_=ARRAY(Text)),
    bindparam("untils", type_=ARRAY(BigInteger)),
    bindparam("in_flights", type_=ARRAY(Integer)),
    bindparam("drainings", type_=ARRAY(Boolean)),
)

_BOOTS = text(
    """
    SELECT g.boot_id, g.hello_ns, g.seen_ns, g.stated_ns, w.until_ns, w.stated_ns AS listed_ns,
           w.in_flight, w.draining
    FROM gateway_boot g
    LEFT JOIN watermark w ON w.boot_id = g.boot_id AND w.replica_id = :replica
    WHERE NOT g.closed AND g.seen_ns >= :heard_since
    """
)

# The last statement reads what the one before it did, and so comes after it: a row that this very
# command had changed already would not be found by FOR UPDATE, and the gap be missed.
_RECEIVING = text(
    """
    WITH before AS (SELECT last_ns FROM receiving WHERE id = 1 FOR UPDATE),
    gap AS (
        INSERT INTO receiving_gap (from_ns, until_ns)
        SELECT last_ns, CAST(:now AS bigint) FROM before
        WHERE CAST(:now AS bigint) - last_ns > CAST(:gap AS bigint) ON CONFLICT DO NOTHING
        RETURNING from_ns
    ), noted AS (SELECT count(*) FROM gap)
    INSERT INTO receiving (id, last_ns) SELECT 1, CAST(:now AS bigint) FROM noted
    ON CONFLICT (id) DO UPDATE SET last_ns = greatest(receiving.last_ns, excluded.last_ns)
    """
)


async def hello(tx: Tx, boot: str, gateway: str, monotonic_ns: int, now_ns: int) -> int:
    """The boot's offset to brain time: learned at its first hello, then fixed."""
    values = {"boot": boot, "gateway": gateway, "offset": now_ns - monotonic_ns, "now": now_ns}
    return int((await tx.execute(_HELLO, values)).scalar_one())


async def offsets(tx: Tx, boots: Sequence[str]) -> dict[str, int]:
    rows = await tx.execute(
        select(GatewayBoot.boot_id, GatewayBoot.offset_ns).where(GatewayBoot.boot_id.in_(boots))
    )
    return {row[0]: row[1] for row in rows}


async def lock_boot(tx: Tx, boot: str) -> GatewayBoot | None:
    """One batch of a boot at a time."""
    return await tx.scalar(
        select(GatewayBoot)
        .where(GatewayBoot.boot_id == boot)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


async def seen(tx: Tx, boot: str, *, seen_ns: int, stated_ns: int) -> None:
    await tx.execute(
        update(GatewayBoot)
        .where(GatewayBoot.boot_id == boot)
        .values(seen_ns=seen_ns, stated_ns=stated_ns)
    )


async def watermarks(
    tx: Tx, boot: str, marks: Sequence[Watermark], *, offset_ns: int, stated_ns: int
) -> None:
    """What a statement says of the replicas that it lists; an older statement changes nothing."""
    if not marks:
        return
    latest = {mark.replica_id: mark for mark in marks}
    await tx.execute(
        _WATERMARKS,
        {
            "boot": boot,
            "stated": stated_ns,
            "replicas": list(latest),
            "untils": [m.until_ns + offset_ns for m in latest.values()],
            "in_flights": [min(m.in_flight, 2**31 - 1) for m in latest.values()],
            "drainings": [m.draining for m in latest.values()],
        },
    )


async def close_boots(tx: Tx, boots: Sequence[str]) -> None:
    """These boots are recovered and fully shipped: nothing more of them is expected."""
    if boots:
        await tx.execute(
            update(GatewayBoot).where(GatewayBoot.boot_id.in_(boots)).values(closed=True)
        )


async def boots(tx: Tx, replica: str, heard_since_ns: int) -> list[Boot]:
    """What each boot that may still have news said of this replica."""
    rows = await tx.execute(_BOOTS, {"replica": replica, "heard_since": heard_since_ns})
    return [
        Boot(row.hello_ns, row.seen_ns, row.stated_ns, row.until_ns, row.listed_ns) for row in rows
    ]


async def undrained(tx: Tx, replica: str, since_ns: int, heard_since_ns: int) -> bool:
    """Does any live boot not yet say that it drains this replica with nothing in flight?"""
    rows = await tx.execute(_BOOTS, {"replica": replica, "heard_since": heard_since_ns})
    return any(
        row.stated_ns <= since_ns
        or (row.listed_ns == row.stated_ns and (row.in_flight > 0 or not row.draining))
        for row in rows
    )


async def untold(tx: Tx, replica: str, since_ns: int, heard_since_ns: int) -> bool:
    """Does any live boot not yet list this replica, ready, in a statement after ``since_ns``?"""
    rows = await tx.execute(_BOOTS, {"replica": replica, "heard_since": heard_since_ns})
    return any(row.listed_ns is None or row.listed_ns <= since_ns or row.draining for row in rows)


async def in_flight(tx: Tx, replicas: Sequence[str], heard_since_ns: int) -> dict[str, int]:
    """Requests that live boots last said to be running on each of these."""
    rows = await tx.execute(
        select(WatermarkRow.replica_id, func.sum(WatermarkRow.in_flight).label("running"))
        .join(GatewayBoot, GatewayBoot.boot_id == WatermarkRow.boot_id)
        .where(
            WatermarkRow.replica_id.in_(replicas),
            WatermarkRow.stated_ns == GatewayBoot.stated_ns,
            GatewayBoot.closed.is_(False),
            GatewayBoot.seen_ns >= heard_since_ns,
        )
        .group_by(WatermarkRow.replica_id)
    )
    return {row.replica_id: int(row.running) for row in rows}


async def receiving_beat(tx: Tx, now_ns: int) -> None:
    """The brain can receive and write at this moment; a longer silence before it is a gap."""
    await tx.execute(_RECEIVING, {"now": now_ns, "gap": GAP_NS})


async def receiving(tx: Tx, since_ns: int) -> Receiving:
    rows = await tx.execute(
        select(ReceivingRow.last_ns, ReceivingGap.from_ns, ReceivingGap.until_ns)
        .join(ReceivingGap, ReceivingGap.until_ns > since_ns, isouter=True)
        .where(ReceivingRow.id == 1)
        .order_by(ReceivingGap.from_ns)
    )
    found = [(row[0], row[1], row[2]) for row in rows]
    gaps = tuple((low, high) for _, low, high in found if low is not None)
    return Receiving(found[0][0] if found else 0, gaps)
