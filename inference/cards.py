"""What workers say of their models in ``GET /v1/models``: kept with the deployment for as long as
the one who said it is ready. The next one may serve another model, or longer contexts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from inference.answering import Lost
from inference.links import Link, Links
from inference.relay import DATA, Relay
from inference.snapshot import Deployment
from inference.sse import DECODE_ERRORS

WAIT_SECONDS_MAX = 1.0
_OWN_FIELDS = frozenset(("id", "object", "created", "owned_by", "parent"))
_REQUEST = b"GET /v1/models HTTP/1.1\r\nhost: worker\r\naccept: application/json\r\n\r\n"


class _List(msgspec.Struct):
    data: list[dict[str, object]]


class Cards:
    async def fetch(self, deployments: Iterable[Deployment[Links]]) -> None:
        """Ask where nothing is known, or who said it has left: what was said last stands until
        another answers. Returns in a second at most, known or not."""
        unknown = [one for one in deployments if one.card_of is None or not one.card_of.ready]
        asks = [asyncio.ensure_future(_ask(deployment)) for deployment in unknown]
        if asks:
            _, late = await asyncio.wait(asks, timeout=WAIT_SECONDS_MAX)
            for task in late:
                task.cancel()


class _Question:
    """One request over a worker's link, for its whole answer; a long one is not read."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._link: Link | None = None

    def link_ready(self, link: Link) -> None:
        if self.answered.done():
            link.give_back()
            return
        self._link = link
        link.send(_REQUEST)

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        self._link = None
        self._settle(content if status == 200 else b"")

    def answer_head(self, status: int, kind: bytes, length: int) -> None:
        self.stop()

    def answer_body(self, received: bytes) -> None: ...

    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        self.answer_body(chunk[start - len(DATA) : -2])
        return None

    def answer_end(self) -> None: ...

    def answer_lost(self, why: Lost) -> None:
        self._link = None
        self._settle(b"")

    def stop(self) -> None:
        """Nobody waits for it any more."""
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        self._settle(b"")

    def _settle(self, content: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(content)


async def _ask(deployment: Deployment[Links]) -> None:
    for replica in deployment.replicas:
        if not replica.ready:
            continue
        question = _Question()
        replica.links.borrow(question)
        try:
            content = await question.answered
        finally:
            question.stop()
        try:
            cards = msgspec.json.decode(content, type=_List).data
        except DECODE_ERRORS:
            continue
        wanted = replica.row.upstream_model or deployment.row.model
        card = next((card for card in cards if card.get("id") == wanted), None)
        if card is None and cards:
            card = cards[0]
        if card is not None:
            deployment.card = {k: v for k, v in card.items() if k not in _OWN_FIELDS}
            deployment.card_of = replica
            return
