"""The gateway's own answers: models, health, metrics. Off the path of inference."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from inference import admission, errors, exposition
from inference.cards import Cards
from inference.gateway import Gateway
from inference.links import Links
from inference.snapshot import Deployment
from kernel.errors import GanglionError

if TYPE_CHECKING:
    from inference.incoming import Request
    from inference.proxy import ClientConnection

JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class Pages:
    """Answers at once where it can; a model list may wait a moment for the workers' own words."""

    def __init__(self, gateway: Gateway, cards: Cards) -> None:
        self._gateway = gateway
        self._cards = cards
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, client: ClientConnection, request: Request) -> None:
        assert request.route is not None
        match request.route.name:
            case "live":
                client.page(_encode({"status": "ok"}), JSON)
            case "ready":
                reason = self._gateway.why_not_ready()
                if reason is None:
                    client.page(_encode({"status": "ok"}), JSON)
                else:
                    client.page(_encode({"status": "not ready", "reason": reason}), JSON, 503)
            case "metrics":
                client.page(exposition.page(self._gateway), TEXT)
            case _:
                task = asyncio.get_running_loop().create_task(self._models(client, request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _models(self, client: ClientConnection, request: Request) -> None:
        assert request.key is not None
        assert request.route is not None
        tables = self._gateway.tables
        try:
            admission.account_of(tables, request.key)
            models = admission.visible(tables, request.key)
            if request.route.name == "model":
                path = request.url.partition(b"?")[0][len(request.route.path) :]
                name = unquote_to_bytes(path).decode(errors="replace")
                models = [(known, found) for known, found in models if known == name]
                if not models:
                    raise errors.model_not_found(name)
        except GanglionError as error:
            client.refuse(error, self._gateway.request_ids.new())
            return
        await self._cards.fetch([deployment for _, deployment in models])
        listed = [_card(name, deployment) for name, deployment in models]
        if request.route.name == "model":
            client.page(_encode(listed[0]), JSON)
        else:
            client.page(_encode({"object": "list", "data": listed}), JSON)


def _card(name: str, deployment: Deployment[Links]) -> dict[str, object]:
    """A model as OpenAI lists it, with the worker's own further fields."""
    row = deployment.row
    return {
        "id": name,
        "object": "model",
        "created": row.created,
        "owned_by": "platform" if row.pool else row.account_id,
        **(deployment.card or {}),
    }
