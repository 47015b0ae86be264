"""What workers say of their models in ``GET /v1/models``: asked once, kept with the deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from inference.http import call
from inference.links import LOOPBACK, Links
from inference.snapshot import Deployment

WAIT_SECONDS_MAX = 1.0
_OWN_FIELDS = frozenset(("id", "object", "created", "owned_by", "parent"))


class _List(msgspec.Struct):
    data: list[dict[str, object]]


class Cards:
    async def fetch(self, deployments: Iterable[Deployment[Links]]) -> None:
        """Ask where nothing is known yet. Returns in a second at most, known or not."""
        unknown = [found for found in deployments if found.card is None]
        asks = [asyncio.ensure_future(_ask(deployment)) for deployment in unknown]
        if asks:
            _, late = await asyncio.wait(asks, timeout=WAIT_SECONDS_MAX)
            for task in late:
                task.cancel()


async def _ask(deployment: Deployment[Links]) -> None:
    for replica in deployment.replicas:
        if not replica.ready:
            continue
        try:
            status, content = await call(
                f"http://{LOOPBACK}:{replica.links.port}", "GET", "/v1/models"
            )
            if status != 200:
                continue
            cards = msgspec.json.decode(content, type=_List).data
        except (OSError, ValueError, asyncio.IncompleteReadError):
            continue
        wanted = replica.row.upstream_model or deployment.row.model
        card = next((card for card in cards if card.get("id") == wanted), None)
        if card is None and cards:
            card = cards[0]
        if card is not None:
            deployment.card = {k: v for k, v in card.items() if k not in _OWN_FIELDS}
            return
