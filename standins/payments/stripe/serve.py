"""``ganglion stand-in stripe --port N``: an emulated Stripe on a port, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import httpx

from kernel.clock import SystemClock
from standins.clouds.shell import BODY_BYTES_MAX, SERVER, Request
from standins.payments.stripe import KEY, SECRET, add_webhook, make_app
from standins.payments.stripe.asgi import App
from standins.payments.stripe.book import Rules
from standins.payments.stripe.faults import read_faults
from standins.payments.stripe.hooks import Posting
from standins.worker.server import Connection, Cut, Exchange

DELIVER_SECONDS = 0.05
POST_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Options:
    port: int
    host: str
    key: str
    webhook: tuple[str, ...]
    connect_webhook: tuple[str, ...]
    webhook_secret: str
    faults: str
    seed: int
    calls_per_second: int


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line; argparse prints what is wrong and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="ganglion stand-in stripe",
        description="An emulated Stripe: the stripe library takes it for the real one.",
    )
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", default=KEY, help="the secret key that it takes (sk_test_…)")
    parser.add_argument("--webhook", action="append", default=[], metavar="URL")
    parser.add_argument("--connect-webhook", action="append", default=[], metavar="URL")
    parser.add_argument("--webhook-secret", default=SECRET, help="signs what those get")
    parser.add_argument("--faults", default="", metavar="JSON", help="see docs/stand-ins.md")
    parser.add_argument("--seed", type=int, default=0, help="of its chance; 0: another each time")
    parser.add_argument("--calls-per-second", type=int, default=100, help="0: no limit")
    given = vars(parser.parse_args(list(arguments)))
    if not given["key"].startswith("sk_test_"):
        parser.error("--key: a stand-in takes no live key; it begins with sk_test_")
    given["webhook"] = tuple(given["webhook"])
    given["connect_webhook"] = tuple(given["connect_webhook"])
    return Options(**given)


class Front:
    """Serves the app over sockets, and posts its webhooks as they fall due."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._client = httpx.AsyncClient(timeout=POST_SECONDS_MAX, trust_env=False)
        self._connections: set[asyncio.Task[None]] = set()
        app.post = self._post

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._exchange, BODY_BYTES_MAX)
        task = asyncio.ensure_future(connection.serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_SECONDS_MAX)
        await self._client.aclose()

    async def _exchange(self, exchange: Exchange) -> None:
        asked = exchange.request
        query = parse_qs(asked.query, keep_blank_values=True)
        request = Request(asked.method, unquote(asked.path), query, asked.headers, asked.body)
        try:
            answer = await self._app.respond(request)
        except Exception as wrong:
            _say(event="crashed", path=asked.path[:200], error=repr(wrong)[:500])
            raise Cut from wrong
        if answer is None:
            raise Cut
        headers = (*(h for h in answer.headers if h[0] != "server"),)
        await exchange.answer(
            answer.status, answer.body, content_type=answer.content_type, headers=headers
        )

    async def _post(self, posting: Posting) -> int | None:
        try:
            answer = await self._client.post(
                posting.url, content=posting.body, headers=posting.headers
            )
        except httpx.HTTPError:
            return None
        return answer.status_code


async def serve(options: Options) -> int:
    """Serve until SIGTERM or SIGINT; one JSON line when it listens, which also says how clients
    are pointed here. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        door = socket.create_server((options.host, options.port), backlog=BACKLOG)
    except OSError as wrong:
        _say(event="failed", reason=f"cannot listen on {options.host}:{options.port}: {wrong}")
        return 1
    rules = Rules(calls_per_second=options.calls_per_second)
    app = make_app(SystemClock(), random.Random(options.seed or None), key=options.key, rules=rules)
    if options.faults:
        app.shell.faults.add(read_faults(json.loads(options.faults)))
    for url in options.webhook:
        add_webhook(app, url, secret=options.webhook_secret)
    for url in options.connect_webhook:
        add_webhook(app, url, connect=True, secret=options.webhook_secret)
    await _serve(app, options, door, stop)
    _say(event="stopped")
    return 0


async def _serve(app: App, options: Options, door: socket.socket, stop: asyncio.Event) -> None:
    front = Front(app)
    server = await asyncio.start_server(front.connected, sock=door, backlog=BACKLOG)
    port = door.getsockname()[1]
    app.book.url = f"http://{options.host}:{port}"
    _say(
        event="ready",
        stand_in="stripe",
        host=options.host,
        port=port,
        server=SERVER,
        point={
            "STRIPE_API_BASE": app.book.url,
            "STRIPE_API_KEY": options.key,
            "STRIPE_PUBLISHABLE_KEY": app.shell.client_key,
            "STRIPE_WEBHOOK_SECRET": options.webhook_secret,
        },
    )
    while not stop.is_set():
        await app.deliver()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), DELIVER_SECONDS)
    server.close()
    await front.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry of ``python -m standins.payments.stripe`` and of ``ganglion stand-in stripe``."""
    return asyncio.run(serve(read_options(sys.argv[1:] if arguments is None else arguments)))


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
