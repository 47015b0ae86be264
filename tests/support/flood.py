"""A worker that streams far more than anyone reads at once: ``python -m tests.support.flood``.

It writes as fast as it is read, so that what stands between it and a slow client shows whether
it holds back or gathers.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import repeat

from tests.support.scripted_worker import answer, chunk, stream_head
from tests.unit.inference import sse

EVENTS, EVENT_BYTES = 12_000, 10_000  # 120 MB
EVENT = sse.chunk({"content": "~" * EVENT_BYTES})


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(stream_head())
                for event in repeat(chunk(EVENT), EVENTS):
                    writer.write(event)
                    await writer.drain()
                writer.write(chunk(sse.STOP + sse.DONE) + chunk(b""))
            else:
                writer.write(answer(b"{}"))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.transport.abort()


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
