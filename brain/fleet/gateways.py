"""Where agents' links are taken now: kept while a gateway's stream of changes stands, told in
each beat.

A row is refreshed by the brain process that holds the gateway's stream, and is dead a while after
that stopped. The rows outlive brain processes, so that a restart of one hides no gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import BigInteger, Boolean, Text, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError

from brain.fleet.models import LinkGateway
from brain.plumbing import Ctx, ended
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.wire.agent import Beat, BeatAnswer, GatewayAddress

LOOK_SECONDS = 1.0
REFRESH_NS = 5 * NS
DEAD_NS = 30 * NS  # without a refresh; agents keep the links that stand in any case
FORGOTTEN_NS = 3600 * NS
GATEWAYS_MAX = 64  # told to agents

_log = structlog.get_logger()
_AWAY = (SQLAlchemyError, OSError, TimeoutError)

_REFRESH = text(
    """
    INSERT INTO link_gateway (boot_id, url, pods, seen_ns)
    SELECT g.boot_id, g.url, g.pods, CAST(:now AS bigint)
    FROM unnest(:boots, :urls, :pods) AS g(boot_id, url, pods) ORDER BY g.boot_id
    ON CONFLICT (boot_id) DO UPDATE
    SET url = excluded.url, pods = excluded.pods,
        seen_ns = greatest(link_gateway.seen_ns, excluded.seen_ns)
    """
).bindparams(
    bindparam("boots", type_=ARRAY(Text)),
    bindparam("urls", type_=ARRAY(Text)),
    bindparam("pods", type_=ARRAY(Boolean)),
    bindparam("now", type_=BigInteger),
)


@dataclass(frozen=True)
class _Listening:
    url: str
    pods: bool


class LinkGateways:
    """A ``BeatPart``: the gateways that live, in every answer."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._here: dict[str, _Listening] = {}  # whose stream this process holds
        self._written: dict[str, _Listening] = {}
        self._refreshed_ns = 0
        self._tidied_ns = 0
        self._live: list[GatewayAddress] = []
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @contextmanager
    def listening(self, boot_id: str, url: str, *, pods: bool) -> Iterator[None]:
        """For as long as this gateway's stream stands; an empty ``url`` takes no links.

        It is written at once: until agents hear of it, nothing reaches their work through it.
        """
        if not url:
            yield
            return
        self._here[boot_id] = _Listening(url, pods)
        self._news.set()
        try:
            yield
        finally:
            self._here.pop(boot_id, None)

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None:
        answer.gateways = self._live

    async def start(self) -> None:
        await self._look_safely()
        self._task = asyncio.create_task(self._look_always(), name="link-gateways")

    async def stop(self) -> None:
        await ended(self._task)
        self._task = None

    async def look(self) -> None:
        """Refresh what listens here, and load what lives anywhere."""
        now_ns = self._ctx.clock.now_ns()
        async with self._ctx.db.begin() as tx:
            here = dict(self._here)
            if here and (here != self._written or now_ns - self._refreshed_ns >= REFRESH_NS):
                await tx.execute(
                    _REFRESH,
                    {
                        "boots": list(here),
                        "urls": [one.url for one in here.values()],
                        "pods": [one.pods for one in here.values()],
                        "now": now_ns,
                    },
                )
                self._written, self._refreshed_ns = here, now_ns
            if now_ns - self._tidied_ns >= FORGOTTEN_NS:
                self._tidied_ns = now_ns
                old = LinkGateway.seen_ns < now_ns - FORGOTTEN_NS
                await tx.execute(delete(LinkGateway).where(old))
            found = await tx.scalars(
                select(LinkGateway)
                .where(LinkGateway.seen_ns > now_ns - DEAD_NS)
                .order_by(LinkGateway.seen_ns.desc(), LinkGateway.boot_id)
                .limit(GATEWAYS_MAX)
                .execution_options(populate_existing=True)
            )
            live = [GatewayAddress(row.boot_id, row.url, row.pods) for row in found]
        self._live = sorted(live, key=lambda one: one.boot_id)

    async def _look_always(self) -> None:
        while True:
            pause = asyncio.ensure_future(self._ctx.clock.sleep(LOOK_SECONDS))
            news = asyncio.ensure_future(self._news.wait())
            try:
                await asyncio.wait((pause, news), return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                news.cancel()
            self._news.clear()
            await self._look_safely()

    async def _look_safely(self) -> None:
        """Without the database the last word stands."""
        try:
            await self.look()
        except _AWAY as failure:
            _log.warning("link_gateways_unread", failure=type(failure).__name__)
