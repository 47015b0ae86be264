"""Many streams at once, and replicas that die under them: nobody hangs, and who could be served
elsewhere was."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, StartGateway, replica_row, snapshot
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import chunk, stream_head
from tests.support.wait import until
from tests.unit.inference import sse

REPLICAS, STREAMS = 10, 1000
SECONDS_MAX = 180  # for all of it


@dataclass
class Replica:
    """Streams one word, or none, and the rest when told; or dies."""

    on: asyncio.Event
    port: int = 0
    heard: int = 0  # streams that had their first word
    silent: int = 0  # and those that had none
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                speaks = b"speak" in await reader.readexactly(size)
                words = [sse.ROLE, sse.HELLO] if speaks else [sse.ROLE]
                writer.write(stream_head() + b"".join(map(chunk, words)))
                self.heard += speaks
                self.silent += not speaks
                await self.on.wait()
                writer.write(
                    chunk(sse.WORLD) + chunk(sse.STOP + sse.usage() + sse.DONE) + chunk(b"")
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


async def listen(port: int, number: int) -> bytes:
    """All that one client gets."""
    said = f"{number}: {'think' if number % 2 else 'speak'}"
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": said}]}
    async with connect(port) as raw:
        content = request(json.dumps(body).encode(), "connection: close", key=KEY)
        await raw.send(content)
        async with asyncio.timeout(SECONDS_MAX):
            return await raw.reader.read()


@pytest.mark.feature("A12")
async def test_streams_survive_the_death_of_a_tenth_of_their_replicas(
    start_gateway: StartGateway,
) -> None:
    on = asyncio.Event()
    replicas = [Replica(on) for _ in range(REPLICAS)]
    for one in replicas:
        await one.start()
    tables = snapshot()
    tables.replicas = [replica_row(one.port, at) for at, one in enumerate(replicas, start=1)]
    gateway = start_gateway(tables)
    clients = [asyncio.create_task(listen(gateway.port, at)) for at in range(STREAMS)]
    assert await until(lambda: sum(one.heard + one.silent for one in replicas) == STREAMS, 80)
    dying = max(replicas, key=lambda one: min(one.heard, one.silent))
    lost, moved = dying.heard, dying.silent
    assert lost > 0
    assert moved > 0
    dying.die()
    others = [one for one in replicas if one is not dying]
    assert await until(lambda: sum(one.heard + one.silent for one in others) >= STREAMS - lost, 80)
    on.set()
    answers = await asyncio.gather(*clients)
    whole = [one for one in answers if one.endswith(sse.DONE + b"\r\n0\r\n\r\n")]
    broken = [one for one in answers if b'"error"' in one and b"[DONE]" not in one]
    assert (len(whole), len(broken)) == (STREAMS - lost, lost)
    assert all(b"Hello" in one for one in broken), "only who had a word was told of the failure"
    ends = [one.end for one in gateway.segments()]
    assert ends.count(SegmentEnd.DONE) == STREAMS - lost
    assert ends.count(SegmentEnd.FAILED) >= lost + moved
    assert gateway.metric("ganglion_gateway_in_flight") == 0
    for one in others:
        one.die()
