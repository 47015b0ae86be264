"""SQL of clouds' offers, refreshes, history and blocks. Locks: history, then blocks by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from brain.clouds import CloudOffer
from brain.offers.core.breaker import ANY, FORGET_SECONDS, Block, OutcomeKind, Scope
from brain.offers.core.history import Tally
from brain.offers.models import (
    CloudOfferRow,
    OfferBlock,
    OfferHistory,
    OfferModel,
    OfferRefresh,
)
from brain.plumbing import Tx
from kernel.clock import NS

# One statement for all that a cloud told. A row is written only when it differs; ``came`` is
# capacity that was not there before: a new offer, one that is back, or more machines of it.
_UPSERT = text(
    """
    WITH told AS (
        SELECT * FROM unnest(
            CAST(:key AS text[]), CAST(:gpu_name AS text[]), CAST(:gpus AS int[]),
            CAST(:vram_mib AS bigint[]), CAST(:price_nano AS bigint[]), CAST(:region AS text[]),
            CAST(:host AS text[]), CAST(:spot AS bool[]), CAST(:secure AS bool[]),
            CAST(:free AS int[]), CAST(:reliability_ppm AS int[]),
            CAST(:storage_nano_gib_hour AS bigint[]), CAST(:egress_nano_gib AS bigint[]),
            CAST(:disk_gib_max AS bigint[]), CAST(:disk_gib_included AS bigint[]),
            CAST(:boot_seconds AS int[]), CAST(:seconds_max AS bigint[])
        ) AS t(key, gpu_name, gpus, vram_mib, price_nano, region, host, spot, secure, free,
            reliability_ppm, storage_nano_gib_hour, egress_nano_gib, disk_gib_max,
            disk_gib_included, boot_seconds, seconds_max)
    ), known AS (
        SELECT o.key, o.gone_ns, o.free FROM cloud_offer o JOIN told USING (key)
        WHERE o.cloud = :cloud
    ), written AS (
        INSERT INTO cloud_offer AS o (cloud, key, gpu_name, gpus, vram_mib, price_nano, region,
            host, spot, secure, free, reliability_ppm, storage_nano_gib_hour, egress_nano_gib,
            disk_gib_max, disk_gib_included, boot_seconds, seconds_max, first_seen_ns, changed_ns)
        SELECT :cloud, told.*, CAST(:now AS bigint), CAST(:now AS bigint) FROM told ORDER BY key
        ON CONFLICT (cloud, key) DO UPDATE SET gpu_name = excluded.gpu_name,
            gpus = excluded.gpus, vram_mib = excluded.vram_mib, price_nano = excluded.price_nano,
            region = excluded.region, host = excluded.host, spot = excluded.spot,
            secure = excluded.secure, free = excluded.free,
            reliability_ppm = excluded.reliability_ppm,
            storage_nano_gib_hour = excluded.storage_nano_gib_hour,
            egress_nano_gib = excluded.egress_nano_gib, disk_gib_max = excluded.disk_gib_max,
            disk_gib_included = excluded.disk_gib_included, boot_seconds = excluded.boot_seconds,
            seconds_max = excluded.seconds_max, changed_ns = excluded.changed_ns, gone_ns = NULL
        WHERE o.gone_ns IS NOT NULL OR (o.gpu_name, o.gpus, o.vram_mib, o.price_nano, o.region,
            o.host, o.spot, o.secure, o.free, o.reliability_ppm, o.storage_nano_gib_hour,
            o.egress_nano_gib, o.disk_gib_max, o.disk_gib_included, o.boot_seconds, o.seconds_max)
            IS DISTINCT FROM (excluded.gpu_name, excluded.gpus, excluded.vram_mib,
            excluded.price_nano, excluded.region, excluded.host, excluded.spot, excluded.secure,
            excluded.free, excluded.reliability_ppm, excluded.storage_nano_gib_hour,
            excluded.egress_nano_gib, excluded.disk_gib_max, excluded.disk_gib_included,
            excluded.boot_seconds, excluded.seconds_max)
        RETURNING o.key, o.region, o.gpu_name, o.host, o.free
    )
    SELECT w.key, w.region, w.gpu_name, w.host,
           (k.key IS NULL OR k.gone_ns IS NOT NULL OR w.free > k.free
            OR (k.free = 0 AND w.free IS NULL)) IS TRUE AS came
    FROM written w LEFT JOIN known k USING (key)
    """
)
_WITHDRAW = text(
    "UPDATE cloud_offer SET gone_ns = :now WHERE cloud = :cloud AND gone_ns IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:keys AS text[])) AS k(key)"
    " WHERE k.key = cloud_offer.key)"
)
_FACTS = [one.name for one in fields(CloudOffer) if one.name != "cloud"]


@dataclass(frozen=True)
class Saved:
    """What a refresh changed; ``came``: places where capacity came up."""

    changed: int
    came: tuple[Scope, ...]


async def save_offers(tx: Tx, cloud: str, told: Sequence[CloudOffer], now_ns: int) -> Saved:
    """Make the rows of a cloud what it told: all of it, so that what it left out is withdrawn."""
    values: dict[str, Any] = {name: [getattr(offer, name) for offer in told] for name in _FACTS}
    written = (await tx.execute(_UPSERT, {**values, "cloud": cloud, "now": now_ns})).all()
    gone: Any = await tx.execute(_WITHDRAW, {"cloud": cloud, "now": now_ns, "keys": values["key"]})
    came = tuple(
        Scope(cloud, row.region, row.gpu_name, row.host, row.key) for row in written if row.came
    )
    return Saved(len(written) + gone.rowcount, came)


def told(row: CloudOfferRow) -> CloudOffer:
    """The row as the cloud told it."""
    return CloudOffer(cloud=row.cloud, **{name: getattr(row, name) for name in _FACTS})


async def offer(tx: Tx, cloud: str, key: str) -> CloudOfferRow | None:
    """One that is told now, as it is in the database."""
    return await tx.scalar(
        select(CloudOfferRow)
        .where(
            CloudOfferRow.cloud == cloud, CloudOfferRow.key == key, CloudOfferRow.gone_ns.is_(None)
        )
        .execution_options(populate_existing=True)
    )


async def offers_of(tx: Tx, cloud: str) -> list[CloudOfferRow]:
    rows = await tx.scalars(
        select(CloudOfferRow).where(CloudOfferRow.cloud == cloud, CloudOfferRow.gone_ns.is_(None))
    )
    return list(rows)


async def ensure_refreshes(tx: Tx, clouds: Sequence[str], now: datetime) -> None:
    """A row for each cloud that is new here, due now."""
    rows = [
        {
            "cloud": cloud,
            "ok_ns": 0,
            "tried_ns": 0,
            "failures": 0,
            "failure": "",
            "refused": "",
            "changes": 0,
            "due_at": now,
        }
        for cloud in sorted(clouds)
    ]
    await tx.execute(insert(OfferRefresh).values(rows).on_conflict_do_nothing())


async def refreshes(tx: Tx) -> list[OfferRefresh]:
    rows = await tx.scalars(
        select(OfferRefresh).order_by(OfferRefresh.cloud).execution_options(populate_existing=True)
    )
    return list(rows)


async def save_refresh(tx: Tx, cloud: str, **values: Any) -> None:
    await tx.execute(
        update(OfferRefresh)
        .where(OfferRefresh.cloud == cloud)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def block_of(row: OfferBlock) -> Block:
    return Block(
        scope=Scope(row.cloud, row.region, row.gpu_name, row.host, row.offer_key),
        kind=OutcomeKind(row.kind),
        strikes=row.strikes,
        began_ns=row.began_ns,
        until_ns=row.until_ns,
        reason=row.reason,
        probe_until_ns=row.probe_until_ns,
    )


_BLOCK_KEY = (
    OfferBlock.cloud,
    OfferBlock.region,
    OfferBlock.gpu_name,
    OfferBlock.host,
    OfferBlock.offer_key,
    OfferBlock.kind,
)


async def blocks(tx: Tx) -> list[Block]:
    rows = await tx.scalars(
        select(OfferBlock).order_by(*_BLOCK_KEY).execution_options(populate_existing=True)
    )
    return [block_of(row) for row in rows]


async def blocks_over(tx: Tx, place: Scope) -> list[Block]:
    """The blocks that cover a place, locked, in the order of their keys."""
    rows = await tx.scalars(
        select(OfferBlock)
        .where(
            OfferBlock.cloud == place.cloud,
            OfferBlock.region.in_((ANY, place.region)),
            OfferBlock.gpu_name.in_((ANY, place.gpu_name)),
            OfferBlock.host.in_((ANY, place.host)),
            OfferBlock.offer_key.in_((ANY, place.offer_key)),
        )
        .order_by(*_BLOCK_KEY)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return [block_of(row) for row in rows]


async def blocks_of(tx: Tx, cloud: str, kinds: Iterable[OutcomeKind]) -> list[Block]:
    """A cloud's blocks of these kinds, locked."""
    rows = await tx.scalars(
        select(OfferBlock)
        .where(OfferBlock.cloud == cloud, OfferBlock.kind.in_([kind.value for kind in kinds]))
        .order_by(*_BLOCK_KEY)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return [block_of(row) for row in rows]


async def save_block(tx: Tx, block: Block) -> None:
    scope = block.scope
    statement = insert(OfferBlock).values(
        cloud=scope.cloud,
        region=scope.region,
        gpu_name=scope.gpu_name,
        host=scope.host,
        offer_key=scope.offer_key,
        kind=block.kind.value,
        strikes=block.strikes,
        began_ns=block.began_ns,
        until_ns=block.until_ns,
        probe_until_ns=block.probe_until_ns,
        reason=block.reason,
    )
    names = ("strikes", "began_ns", "until_ns", "probe_until_ns", "reason")
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[column.key for column in _BLOCK_KEY],
            set_={name: statement.excluded[name] for name in names},
        )
    )


async def drop_block(tx: Tx, block: Block) -> None:
    scope = block.scope
    key = (scope.cloud, scope.region, scope.gpu_name, scope.host, scope.offer_key)
    await tx.execute(
        delete(OfferBlock).where(tuple_(*_BLOCK_KEY) == tuple_(*key, block.kind.value))
    )


async def tally(tx: Tx, place: Scope) -> tuple[Tally, int] | None:
    """What is counted of a place, and when it was; locked."""
    row = await tx.scalar(
        select(OfferHistory)
        .where(
            OfferHistory.cloud == place.cloud,
            OfferHistory.region == place.region,
            OfferHistory.gpu_name == place.gpu_name,
            OfferHistory.host == place.host,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return None if row is None else (_tally_of(row), row.updated_ns)


async def tallies(tx: Tx) -> list[tuple[Scope, Tally, int]]:
    rows = await tx.scalars(select(OfferHistory))
    return [
        (Scope(r.cloud, r.region, r.gpu_name, r.host), _tally_of(r), r.updated_ns) for r in rows
    ]


def _tally_of(row: OfferHistory) -> Tally:
    return Tally(row.served, row.failed, row.interrupted, row.boots, row.boot_seconds)


async def ensure_tally(tx: Tx, place: Scope, now_ns: int) -> None:
    values = {"served": 0, "failed": 0, "interrupted": 0, "boots": 0, "boot_seconds": 0}
    await tx.execute(
        insert(OfferHistory)
        .values(
            cloud=place.cloud,
            region=place.region,
            gpu_name=place.gpu_name,
            host=place.host,
            updated_ns=now_ns,
            **values,
        )
        .on_conflict_do_nothing()
    )


async def save_tally(tx: Tx, place: Scope, tally: Tally, now_ns: int) -> None:
    await tx.execute(
        update(OfferHistory)
        .where(
            OfferHistory.cloud == place.cloud,
            OfferHistory.region == place.region,
            OfferHistory.gpu_name == place.gpu_name,
            OfferHistory.host == place.host,
        )
        .values(
            served=tally.served,
            failed=tally.failed,
            interrupted=tally.interrupted,
            boots=tally.boots,
            boot_seconds=tally.boot_seconds,
            updated_ns=now_ns,
        )
        .execution_options(synchronize_session=False)
    )


async def keep_model(tx: Tx, place: Scope, model: str, now_ns: int) -> None:
    statement = insert(OfferModel).values(
        cloud=place.cloud, region=place.region, host=place.host, model=model, served_ns=now_ns
    )
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["cloud", "region", "host", "model"], set_={"served_ns": now_ns}
        )
    )


async def models_since(tx: Tx, since_ns: int) -> dict[tuple[str, str, str], frozenset[str]]:
    """What was served lately, by (cloud, region, host)."""
    rows = await tx.scalars(select(OfferModel).where(OfferModel.served_ns >= since_ns))
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row.cloud, row.region, row.host), set()).add(row.model)
    return {place: frozenset(models) for place, models in found.items()}


async def forget(tx: Tx, now_ns: int, *, gone_before_ns: int, served_before_ns: int) -> None:
    """Drop rows that nobody asks for any more."""
    old_ns = now_ns - FORGET_SECONDS * NS
    last = or_(OfferBlock.probe_until_ns.is_(None), OfferBlock.probe_until_ns < old_ns)
    await tx.execute(delete(OfferBlock).where(OfferBlock.until_ns < old_ns, last))
    await tx.execute(delete(CloudOfferRow).where(CloudOfferRow.gone_ns < gone_before_ns))
    await tx.execute(delete(OfferModel).where(OfferModel.served_ns < served_before_ns))
