"""All that is for rent now as the planner reads it: nodes and clouds, kept in the order of score.

The nodes' part is read anew every second. A cloud's part is read from the database only when a
refresh changed its rows; when one merely found them as they were, only their age is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from brain import billing, fleet
from brain.offers import store
from brain.offers.core import breaker
from brain.offers.core.breaker import ANY, Block, Scope
from brain.offers.core.history import MILLION, History
from brain.offers.models import CloudOfferRow
from brain.offers.ports import Near
from brain.offers.reconcile import MODELS_KEPT_NS
from brain.plumbing import Ctx, Tx
from brain.scheduling import Board, Offer, Trust
from kernel.clock import NS

NODES_NS_MAX = NS
NEAR_NS_MAX = 60 * NS
SHOWN_NS_MAX = 3600 * NS  # what is older is too old to plan with for long, and no news to anybody
BASIS_POINTS = 10_000
SIMULATED = "Simulated "  # how the fake cloud's machines, which have no GPU, are called
Places = Mapping[tuple[str, str, str], frozenset[str]]


@dataclass
class _Shelf:
    """One cloud's offers, and the refresh that they are of."""

    changes: int
    seen_ns: int
    rows: list[CloudOfferRow]


@dataclass
class Market:
    """Kept for the life of a process; ``board`` is what plans are made on."""

    ctx: Ctx
    near: Near = field(default_factory=Near)
    _near: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _near_ns: int | None = None
    _clouds: dict[str, _Shelf] = field(default_factory=dict)
    _blocks: list[Block] = field(default_factory=list)
    _cloud_offers: list[Offer] = field(default_factory=list)
    _cloud_board: Board = field(default_factory=lambda: Board(()))
    _markup: int | None = None
    _board: Board | None = None
    _read_ns: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    rebuilt: int = 0  # how often the clouds' part was made anew

    async def board(self) -> Board:
        """Nodes and clouds together, at most a second old."""
        async with self._lock:
            now_ns = self.ctx.clock.monotonic_ns()
            if self._board is None or now_ns - self._read_ns > NODES_NS_MAX:
                nodes = Board(await self._nodes())
                await self._read_clouds()
                self._board = nodes.beside(self._cloud_board)
                self._read_ns = now_ns
            return self._board

    async def _nodes(self) -> list[Offer]:
        """Our nodes' offers, with the models that they served of late."""
        now_ns = self.ctx.clock.monotonic_ns()
        if self._near_ns is None or now_ns - self._near_ns > NEAR_NS_MAX:
            async with self.ctx.db.begin() as tx:
                since_ns = self.ctx.clock.now_ns() - MODELS_KEPT_NS
                self._near = await self.near.models(tx, since_ns)
            self._near_ns = now_ns
        return [
            replace(offer, models=self._near[offer.place]) if offer.place in self._near else offer
            for offer in await fleet.offers(self.ctx)
        ]

    async def cloud_offers(self) -> list[Offer]:
        """The clouds' part alone, as it is now."""
        await self._read_clouds()
        return self._cloud_offers

    def forget(self) -> None:
        """Somebody claimed: what was read of the nodes is no longer so."""
        self._board = None

    async def _read_clouds(self) -> None:
        """Make the clouds' part anew, if any of their rows changed."""
        async with self.ctx.db.begin() as tx:
            refreshes = await store.refreshes(tx)
            blocks = await store.blocks(tx)
            markup = await billing.cloud_markup(tx, self.ctx.clock.now())
            before = {name: (shelf.changes, shelf.seen_ns) for name, shelf in self._clouds.items()}
            since_ns = self.ctx.clock.now_ns() - SHOWN_NS_MAX
            now = {r.cloud: (r.changes, r.ok_ns) for r in refreshes if r.ok_ns > since_ns}
            if (before, self._blocks, self._markup) == (now, blocks, markup):
                return
            for name in self._clouds.keys() - now.keys():
                del self._clouds[name]
            for name, (changes, seen_ns) in now.items():
                await self._read_cloud(tx, name, changes, seen_ns)
            history, models = await _past(tx, self.ctx.clock.now_ns())
        self._blocks, self._markup = blocks, markup
        over = _Blocks(blocks)
        self._cloud_offers = [
            _offer(row, shelf.seen_ns, markup, history, over, models)
            for shelf in self._clouds.values()
            for row in shelf.rows
        ]
        self._cloud_board = Board(self._cloud_offers)
        self.rebuilt += 1

    async def _read_cloud(self, tx: Tx, name: str, changes: int, seen_ns: int) -> None:
        known = self._clouds.get(name)
        if known is not None and known.changes == changes:
            known.seen_ns = seen_ns
            return
        rows = await store.offers_of(tx, name)
        self._clouds[name] = _Shelf(changes, seen_ns, rows)


async def offers(ctx: Ctx) -> list[Offer]:
    """Every cloud's offers once, with blocks as ``withheld``. For many plans keep a ``Market``."""
    return await Market(ctx).cloud_offers()


async def _past(tx: Tx, now_ns: int) -> tuple[History, Places]:
    tallies = await store.tallies(tx)
    history = History((place, tally.faded(now_ns - at_ns)) for place, tally, at_ns in tallies)
    return history, await store.models_since(tx, now_ns - MODELS_KEPT_NS)


class _Blocks:
    """Blocks by what they cover, so that an offer asks only for the few that may cover it."""

    def __init__(self, blocks: list[Block]) -> None:
        self._by_scope: dict[Scope, list[Block]] = {}
        for block in blocks:
            if block.opened:
                self._by_scope.setdefault(block.scope, []).append(block)

    def over(self, place: Scope) -> Block | None:
        """Of those over a place the one that keeps it shut the longest."""
        if not self._by_scope:
            return None
        cloud, region, gpu, host = place.cloud, place.region, place.gpu_name, place.host
        found = [
            block
            for scope in (
                Scope(cloud),
                Scope(cloud, region),
                Scope(cloud, region, gpu),
                Scope(cloud, region, gpu, host),
                Scope(cloud, host=host),
                Scope(cloud, offer_key=place.offer_key),
            )
            for block in self._by_scope.get(scope, ())
        ]
        return max(found, key=lambda b: (breaker.opens_ns(b), b.scope), default=None)


def _offer(
    row: CloudOfferRow, seen_ns: int, markup: int, history: History, over: _Blocks, models: Places
) -> Offer:
    place = Scope(row.cloud, row.region, row.gpu_name, row.host, row.key)
    hopes = history.prospect(place, spot=row.spot, boot_told=row.boot_seconds)
    told = MILLION if row.reliability_ppm is None else row.reliability_ppm
    block = over.over(place)
    withheld = "" if block is None else block.reason
    until_ns = 0 if block is None else breaker.opens_ns(block)
    if row.free == 0:
        withheld, until_ns = "None of them is free there now.", 0
    near = models.get((row.cloud, row.region, row.host), frozenset())
    return Offer(
        node_id=None,
        gpu_name=row.gpu_name,
        vram_mib=row.vram_mib,
        free=row.gpus,
        total=row.gpus,
        price_nano=marked_up(row.price_nano, markup),
        seen_ns=seen_ns,
        node_name=_title(row),
        region=row.region,
        spot=row.spot,
        reliability_ppm=told * (MILLION - hopes.loss_ppm) // MILLION,
        trust=Trust.VERIFIED if row.secure else Trust.COMMUNITY,
        simulated=row.gpu_name.startswith(SIMULATED),
        storage_nano_gib_hour=marked_up(row.storage_nano_gib_hour, markup),
        cold_start_seconds=hopes.boot_seconds,
        withheld=withheld,
        withheld_until_ns=until_ns,
        cloud=row.cloud,
        offer_key=row.key,
        host="" if row.host == ANY else row.host,
        failure_ppm=hopes.failure_ppm,
        machines=row.free,
        seconds_max=row.seconds_max,
        disk_gib_max=row.disk_gib_max,
        disk_gib_included=row.disk_gib_included,
        models=near,
    )


def marked_up(nano: int, basis_points: int) -> int:
    """What the renter pays for what costs us so much, rounded up."""
    return -(-nano * (BASIS_POINTS + basis_points) // BASIS_POINTS)


def _title(row: CloudOfferRow) -> str:
    where = f" in {row.region}" if row.region else ""
    return f"{row.cloud}{where}" + (f" (host {row.host})" if row.host else "")
