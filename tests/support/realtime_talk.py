"""A conversation with a gateway by the official client, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.gateway import KEY, Gateway
from tests.support.realtime import MIND, client, session
from tests.support.standin import StandIn

Event = dict[str, Any]


def port(worker: StandIn) -> int:
    return int(worker.url.rsplit(":", 1)[1])


@asynccontextmanager
async def talk(gateway: Gateway, **changes: object) -> AsyncIterator[AsyncRealtimeConnection]:
    """A session of the official client whose parts are all set."""
    async with client(gateway.url) as official, official.realtime.connect(model=MIND) as connection:
        assert (await connection.recv()).type == "session.created"
        wanted: Any = session(**changes)
        await connection.session.update(session=wanted)
        assert (await connection.recv()).type == "session.updated"
        yield connection


async def until_event(
    connection: AsyncRealtimeConnection, kind: str, seconds: float = 10
) -> list[Any]:
    """All events up to the first of this kind."""
    seen: list[Any] = []
    async with asyncio.timeout(seconds):
        while not seen or seen[-1].type != kind:
            seen.append(await connection.recv())
    return seen


async def said_of(connection: AsyncRealtimeConnection, text: str) -> None:
    """Write what the user would say."""
    content: Any = [{"type": "input_text", "text": text}]
    item: Any = {"type": "message", "role": "user", "content": content}
    await connection.conversation.item.create(item=item)


@asynccontextmanager
async def plain(
    gateway: Gateway, path: str, key: str | None = KEY, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A WebSocket to a route, by the client of the package websockets."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    async with connect(url, additional_headers=headers, **options) as socket:
        yield socket


async def events_until(
    socket: ClientConnection, kind: str, seconds: float = 10
) -> tuple[list[Event], bytes]:
    """The events up to the first of this kind, and the sound that came meanwhile."""
    seen: list[Event] = []
    sound: list[bytes] = []
    async with asyncio.timeout(seconds):
        while not seen or seen[-1]["type"] != kind:
            message = await socket.recv()
            if isinstance(message, bytes):
                sound.append(message)
            else:
                seen.append(json.loads(message))
    return seen, b"".join(sound)


async def close_code(socket: ClientConnection) -> int | None:
    """Read to the end: how the gateway closed it."""
    async with asyncio.timeout(10):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


def turns(gateway: Gateway) -> list[Event]:
    """The records of turns in its log."""
    written = gateway.log.read_text().rpartition("\n")[0]  # a last line may still be written
    lines = [json.loads(line) for line in written.splitlines()]
    return [line for line in lines if line["event"] == "turn"]
