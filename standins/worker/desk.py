"""What every route is handed: the engine, the limits, the request's body, names and times."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from kernel.clock import Clock
from standins.worker.faults import FaultBox
from standins.worker.generate import Engine
from standins.worker.jobs import Body, Limits
from standins.worker.manners import encoded
from standins.worker.options import Options
from standins.worker.refusals import Refusal, bad_field, engine_gone, no_model, no_pooling_model
from standins.worker.server import Exchange

OWNER = "ganglion-stand-in"
VERSION = "0.32.0+ganglion.stand.in"


class Desk:
    """One worker's state, shared by its routes. It lives in one event loop."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options = options
        self.engine = Engine(options, clock)
        self.faults = FaultBox(options.faults)
        self.limits = Limits(options.model, options.max_model_len)
        self.draining = False
        self.remembered: deque[Body] = deque(maxlen=options.remember)
        self.stored: dict[str, Body] = {}  # Responses by their ids, the oldest first
        self.born_ns = clock.now_ns()
        self._clock = clock
        self._count = 0

    def now(self) -> int:
        """Seconds, as answers say when they were made."""
        return self._clock.now_ns() // 1_000_000_000

    def identity(self, exchange: Exchange) -> str:
        """The request's own id, or the next of ours."""
        self._count += 1
        given = exchange.request.headers.get("x-request-id", "")
        return given[:200] or f"{self.born_ns // 1000 & 0xFFFFFFFF:08x}{self._count:08x}"

    def body(self, exchange: Exchange) -> Body:
        """The request's JSON object for the model served here; raises ``Refusal``."""
        body = self.any_body(exchange)
        self.check_model(body.get("model"))
        return body

    def pooling_body(self, exchange: Exchange) -> Body:
        """The same for embeddings and scores, where vLLM refuses a model in other words."""
        body = self.any_body(exchange)
        asked = body.get("model")
        if asked is not None and asked != self.options.model:
            raise no_pooling_model(str(asked))
        return body

    def any_body(self, exchange: Exchange) -> Body:
        """The request's JSON object, whichever model it names; raises ``Refusal``."""
        self.open_for_work()
        if "json" not in exchange.request.headers.get("content-type", ""):
            message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' "
            raise Refusal(message + "is allowed", kind="Bad Request", param=None)
        try:
            body: Any = json.loads(exchange.request.body)
        except ValueError as wrong:
            raise bad_field("json_invalid", "0", "JSON decode error", {}) from wrong
        if not isinstance(body, dict):
            message = "Input should be a valid dictionary or object to extract fields from"
            raise bad_field("model_attributes_type", "", message, body)
        self.remember(exchange, body)
        return body

    def open_for_work(self) -> None:
        if self.draining:
            raise engine_gone()

    def check_model(self, asked: object) -> None:
        if asked is not None and asked != self.options.model:
            raise no_model(str(asked), self.options.model)

    def remember(self, exchange: Exchange, body: Body) -> None:
        """Show this request at /stand-in/state, if the worker was told to."""
        if self.options.remember:
            request = exchange.request
            seen = {"path": request.path, "headers": request.headers, "body": body}
            self.remembered.append(seen)


async def answer_json(exchange: Exchange, payload: object) -> None:
    await exchange.answer(200, encoded(payload))
