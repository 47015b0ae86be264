"""One client's request with an ``Idempotency-Key``: the first of its key, or one that joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference import errors
from inference.client import Client
from inference.idempotency import words
from inference.idempotency.original import Original, Run
from inference.routes import Route
from kernel.clock import NS
from kernel.errors import GanglionError
from kernel.wire.gateway import KeyRow
from kernel.wire.replays import Kept, valid_key

if TYPE_CHECKING:
    from inference.gateway import Gateway


class Keyed:
    """Started once with the whole body, as an exchange is."""

    __slots__ = (
        "_key_text",
        "_original",
        "_started_ns",
        "client",
        "gateway",
        "key",
        "request_id",
        "route",
        "run",
    )

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        key: KeyRow,
        route: Route,
        request_id: str,
        started_ns: int,
        key_text: bytes,
        run: Run,
    ) -> None:
        self.gateway = gateway
        self.client = client
        self.key = key
        self.route = route
        self.request_id = request_id
        self.run = run
        self._started_ns = started_ns
        self._key_text = key_text
        self._original: Original | None = None

    def start(self, received: bytes) -> None:
        if not valid_key(self._key_text):
            self.refuse(words.bad_key())
            return
        replays = self.gateway.replays
        name = self.key.account_id, self._key_text.decode()
        original = replays.running.get(name)
        if original is None:
            if not replays.may_claim(self.key.account_id):
                self.refuse(words.too_many())
                return
            original = replays.running[name] = Original(self, name, received)
        self._original = original
        original.join(self, received)

    # What the connection tells.

    def client_paused(self) -> None:
        if self._original is not None:
            self._original.paused(self, since=True)

    def client_resumed(self) -> None:
        if self._original is not None:
            self._original.paused(self, since=False)

    def client_gone(self) -> None:
        if self._original is not None:
            self._original.leave(self)

    # How a request that did not run itself is answered.

    def refuse(self, error: GanglionError) -> None:
        self._count(errors.status_of(error))
        self.client.refuse(error, self.request_id)

    def replay(self, kept: Kept, first: str) -> None:
        """The answer of the first request, under its id: that is the one on the bill."""
        self.gateway.metrics.count("replayed")
        self._count(kept.status)
        id_line = self.route.dialect.id_line
        tagged = first + (f"{id_line}{first}" if id_line else "") + words.REPLAYED
        if kept.status == 200:
            self.client.whole(kept.kind.encode(), kept.body, tagged)
        else:
            self.client.refuse(words.kept_error(kept), tagged)

    def _count(self, status: int) -> None:
        seconds = (self.gateway.now_ns() - self._started_ns) / NS
        self.gateway.metrics.finished(self.route.name, status, seconds)
