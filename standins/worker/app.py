"""The stand-in worker: one process's connections, its life and its death."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from kernel.clock import Clock, SystemClock
from standins.worker import messages, routes
from standins.worker.desk import Desk
from standins.worker.faults import FaultKind
from standins.worker.journal import Journal
from standins.worker.manners import encoded
from standins.worker.options import OnStop, Options, read_options
from standins.worker.refusals import Refusal, asked_for
from standins.worker.server import Connection, Cut, Exchange

CLOSE_SECONDS_MAX = 2.0
GUARDED = ("/v1", "/v2")  # what vLLM's --api-key guards of the routes served here


class Worker:
    """One stand-in worker. It lives in one event loop."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.desk = Desk(options, clock)
        self._options = options
        self._journal = Journal(options.journal) if options.journal else None
        self._connections: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self.answer, self._options.body_bytes_max)
        task = asyncio.ensure_future(connection.serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Drain for ``shutdown_timeout``, then end what is left as a killed engine does."""
        self.desk.draining = True
        engine = self.desk.engine
        await engine.until_idle(self._options.shutdown_timeout)
        how = self._options.on_stop
        engine.stop_as(how)
        await engine.until_idle(None if how == OnStop.HANG else CLOSE_SECONDS_MAX)
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
            known = exchange.request.path in messages.PATHS
            body = messages.error_body(refusal) if known else refusal.body()
            await exchange.answer(refusal.status, encoded(body), headers=headers)
        except (Cut, ConnectionError, TimeoutError):
            raise
        except Exception as wrong:
            _say(event="crashed", path=exchange.request.path, error=repr(wrong))
            raise Cut from wrong

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        route = routes.find(request.method, request.path)
        if route is None:
            known = routes.has_path(request.path)
            status, words = (405, "Method Not Allowed") if known else (404, "Not Found")
            await exchange.answer(status, encoded({"detail": words}))
            return
        if self._options.api_key and request.path.startswith(GUARDED):
            sent = request.headers.get("authorization", "")
            if sent != f"Bearer {self._options.api_key}":
                await exchange.answer(401, encoded({"error": "Unauthorized"}))
                return
        if self._journal is not None:
            headers = request.headers
            self._journal.began(headers.get("x-request-id", ""), headers.get("traceparent", ""))
        if not request.path.startswith("/stand-in/"):
            self._meet_fault(exchange)
        await route(self.desk, exchange)

    def _meet_fault(self, exchange: Exchange) -> None:
        fault = self.desk.faults.take(exchange.request.path)
        exchange.fault = fault
        exchange.wait = self.desk.engine.wait
        if fault and fault.fault == FaultKind.STATUS:
            raise asked_for(fault.status)


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
    _say(event="stopping", running=worker.desk.engine.book.running)
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
