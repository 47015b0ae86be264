"""The stand-in worker: routes, life and death of the process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kernel.clock import Clock, SystemClock
from standins.worker import chat, completions, embeddings
from standins.worker.faults import FaultBox, FaultKind, read_faults
from standins.worker.generate import Engine, Speech, encoded
from standins.worker.jobs import Body, Job, Limits
from standins.worker.options import OnStop, Options, read_options
from standins.worker.refusals import Refusal, asked_for, bad_field, engine_gone, no_model
from standins.worker.server import Connection, Cut, Exchange

VERSION = "0.32.0+ganglion.stand.in"
OWNER = "ganglion-stand-in"
CLOSE_SECONDS_MAX = 2.0
Route = Callable[[Exchange], Awaitable[None]]
Reader = Callable[..., Job]


class Worker:
    """One stand-in worker. It lives in one event loop."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.engine = Engine(options, clock)
        self.faults = FaultBox(options.faults)
        self.draining = False
        self._options = options
        self._clock = clock
        self._limits = Limits(options.model, options.max_model_len)
        self._born_ns = clock.now_ns()
        self._count = 0
        self._remembered: deque[Body] = deque(maxlen=options.remember)
        self._connections: set[asyncio.Task[None]] = set()
        self._routes: dict[tuple[str, str], Route] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/load"): self._load,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/stand-in/state"): self._state,
            ("POST", "/stand-in/faults"): self._add_faults,
            ("GET", "/stand-in/faults"): self._show_faults,
            ("DELETE", "/stand-in/faults"): self._clear_faults,
        }

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self.answer, self._options.body_bytes_max)
        task = asyncio.ensure_future(connection.serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Drain for ``shutdown_timeout``, then end what is left as a killed engine does."""
        self.draining = True
        await self.engine.until_idle(self._options.shutdown_timeout)
        how = self._options.on_stop
        self.engine.stop_as(how)
        await self.engine.until_idle(None if how == OnStop.HANG else CLOSE_SECONDS_MAX)
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def answer(self, exchange: Exchange) -> None:
        """Answer any request; a refusal becomes vLLM's error body."""
        try:
            await self._answer(exchange)
        except Refusal as refusal:
            retry = exchange.fault.retry_after if exchange.fault else ""
            headers = (("retry-after", retry),) if retry else ()
            await exchange.answer(refusal.status, encoded(refusal.body()), headers=headers)
        except (Cut, ConnectionError, TimeoutError):
            raise
        except Exception as wrong:
            _say(event="crashed", path=exchange.request.path, error=repr(wrong))
            raise Cut from wrong

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        route = self._routes.get((request.method, request.path))
        if route is None:
            known = any(path == request.path for _, path in self._routes)
            status, words = (405, "Method Not Allowed") if known else (404, "Not Found")
            await exchange.answer(status, encoded({"detail": words}))
            return
        if self._options.api_key and request.path.startswith("/v1"):
            sent = request.headers.get("authorization", "")
            if sent != f"Bearer {self._options.api_key}":
                await exchange.answer(401, encoded({"error": "Unauthorized"}))
                return
        if not request.path.startswith("/stand-in/"):
            await self._meet_fault(exchange)
        await route(exchange)

    async def _meet_fault(self, exchange: Exchange) -> None:
        fault = self.faults.take(exchange.request.path)
        exchange.fault = fault
        exchange.wait = self.engine.wait
        if fault and fault.fault == FaultKind.STATUS:
            raise asked_for(fault.status)

    async def _chat(self, exchange: Exchange) -> None:
        await self._speak(exchange, chat.read, Speech(chat.whole, chat.frames))

    async def _completions(self, exchange: Exchange) -> None:
        await self._speak(exchange, completions.read, Speech(completions.whole, completions.frames))

    async def _speak(self, exchange: Exchange, read: Reader, speech: Speech) -> None:
        body = self._body(exchange)
        created = self._clock.now_ns() // 1_000_000_000
        job = read(body, self._limits, identity=self._identity(exchange), created=created)
        await self.engine.run(exchange, job, speech)

    async def _embeddings(self, exchange: Exchange) -> None:
        body = self._body(exchange)
        identity = self._identity(exchange)
        created = self._clock.now_ns() // 1_000_000_000
        shown = embeddings.answer(body, self._limits, identity=identity, created=created)
        try:
            async with self.engine.seat(lambda: self.engine.be_late(exchange)):
                self.engine.book.prompt_tokens += shown["usage"]["prompt_tokens"]
                await self.engine.wait(self._options.first_token_ms / 1000)
                await exchange.answer(200, encoded(shown))
                self.engine.book.finished += 1
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self.engine.note_abort(exchange, f"embd-{identity}", 0)
            raise

    async def _models(self, exchange: Exchange) -> None:
        born = self._born_ns // 1_000_000_000
        permission: Body = {
            "id": "modelperm-stand-in",
            "object": "model_permission",
            "created": born,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        card: Body = {
            "id": self._options.model,
            "object": "model",
            "created": born,
            "owned_by": OWNER,
            "root": self._options.model,
            "parent": None,
            "max_model_len": self._options.max_model_len,
            "permission": [permission],
        }
        await exchange.answer(200, encoded({"object": "list", "data": [card]}))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.answer(200, b"", content_type="")

    async def _version(self, exchange: Exchange) -> None:
        await exchange.answer(200, encoded({"version": VERSION}))

    async def _load(self, exchange: Exchange) -> None:
        book = self.engine.book
        await exchange.answer(200, encoded({"server_load": book.running + book.waiting}))

    async def _metrics(self, exchange: Exchange) -> None:
        kind = "text/plain; version=1.0.0; charset=utf-8"
        await exchange.answer(200, self.engine.book.text().encode(), content_type=kind)

    async def _state(self, exchange: Exchange) -> None:
        state: Body = {
            "stand_in": "worker",
            "model": self._options.model,
            "draining": self.draining,
            **self.engine.book.state(),
            "faults": self.faults.left(),
            "remembered": list(self._remembered),
        }
        await exchange.answer(200, encoded(state))

    async def _add_faults(self, exchange: Exchange) -> None:
        try:
            self.faults.add(read_faults(json.loads(exchange.request.body)))
        except ValueError as wrong:
            raise Refusal(f"Not a fault: {wrong}", param=None) from wrong
        await self._show_faults(exchange)

    async def _show_faults(self, exchange: Exchange) -> None:
        await exchange.answer(200, encoded({"faults": self.faults.left()}))

    async def _clear_faults(self, exchange: Exchange) -> None:
        self.faults.clear()
        await self._show_faults(exchange)

    def _body(self, exchange: Exchange) -> Body:
        """The request's JSON object for the model served here; raises ``Refusal``."""
        if self.draining:
            raise engine_gone()
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
        if self._options.remember:
            request = exchange.request
            seen = {"path": request.path, "headers": request.headers, "body": body}
            self._remembered.append(seen)
        asked = body.get("model")
        if asked is not None and asked != self._options.model:
            raise no_model(str(asked), self._options.model)
        return body

    def _identity(self, exchange: Exchange) -> str:
        self._count += 1
        given = exchange.request.headers.get("x-request-id", "")
        return given[:200] or f"{self._born_ns // 1000 & 0xFFFFFFFF:08x}{self._count:08x}"


async def serve(options: Options, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line when it listens."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    if options.load_seconds:
        load = asyncio.ensure_future(asked_to_stop.wait())
        await asyncio.wait({load}, timeout=options.load_seconds)
    if asked_to_stop.is_set():
        return
    worker = Worker(options, clock)
    server = await asyncio.start_server(worker.connected, options.host, options.port, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    _say(event="ready", stand_in="worker", host=options.host, port=port, model=options.model)
    await asked_to_stop.wait()
    _say(event="stopping", running=worker.engine.book.running)
    await worker.close()
    server.close()
    _say(event="stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry of ``python -m standins.worker`` and ``ganglion stand-in worker``."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    try:
        asyncio.run(serve(options, SystemClock()))
    except OSError as wrong:
        _say(event="failed", reason=f"cannot listen on {options.host}:{options.port}: {wrong}")
        return 1
    return 0


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
