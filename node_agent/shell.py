"""Shells and commands in a pod's container, over a link to port ``exec`` (``kernel.wire.shell``).

The program runs beside the pod's own, as the image's user, with the image's own shell: no SSH
server is in the image. Each side waits for the other, so that memory stays bounded.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import Counter
from contextlib import suppress

import msgspec
import structlog

from kernel.clock import Clock
from kernel.errors import GanglionError, LimitReached, Malformed
from kernel.wire import decode
from kernel.wire.shell import Exit, Frames, Kind, Open, Size, frame
from node_agent.engine import Engine, Exec, StartRefused
from node_agent.records import Phase, Work

log = structlog.get_logger(__name__)
OPEN_SECONDS_MAX = 15.0
EXIT_SECONDS_MAX = 10.0
RESIZES_MAX = 20
PAUSE_SECONDS = 0.05
PIECE_BYTES = 32 * 1024
SHELLS_MAX = 16  # of one lease at a time
VARIABLES_MAX = 64
NO_EXIT = 255  # ssh's own code for "there was no program"
STDERR = 2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
LOGIN = "if command -v bash >/dev/null 2>&1; then exec bash -l; else exec /bin/sh -l; fi"
COMMAND = (
    'if command -v bash >/dev/null 2>&1; then exec bash -c "$1"; else exec /bin/sh -c "$1"; fi'
)


class Shells:
    """The shells of this node. ``installation_id``: only work of this installation is entered."""

    def __init__(self, engine: Engine, clock: Clock, *, installation_id: str) -> None:
        self._engine = engine
        self._clock = clock
        self._installation_id = installation_id
        self._open: Counter[str] = Counter()

    async def serve_shell(self, lease_id: str, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one shell until it or the far end ends. Never raises for what the far end does;
        when it returns the program is gone and the writer closed."""
        self._open[lease_id] += 1
        try:
            if self._open[lease_id] > SHELLS_MAX:
                raise LimitReached(f"This pod has {SHELLS_MAX} shells open: close one.")
            told = await self._serve(lease_id, reader, writer)
        except GanglionError as error:
            told = Exit(NO_EXIT, error.detail[:1000])
        except (OSError, IncompleteReadError, TimeoutError):
            told = None  # the far end is gone
        finally:
            self._open[lease_id] -= 1
            if not self._open[lease_id]:
                del self._open[lease_id]
        with suppress(OSError):
            if told is not None:
                writer.write(frame(Kind.EXIT, msgspec.json.encode(told)))
                await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _serve(
        self, lease_id: str, reader: StreamReader, writer: StreamWriter
    ) -> Exit | None:
        frames = Frames()
        async with asyncio.timeout(OPEN_SECONDS_MAX):
            asked, rest = await _opening(frames, reader)
        work = await self._work(lease_id)
        program = await self._engine.execute(
            work, _command(asked), tty=asked.tty, env=_variables(asked)
        )
        log.info("shell_opened", lease_id=lease_id, tty=asked.tty)
        try:
            if asked.tty:
                await self._sized(program, asked.size or Size())
            session = _Session(program, tty=asked.tty)
            if await session.run(frames, rest, reader, writer):
                return Exit(await self._code(program))
            return None
        finally:
            await program.close()
            log.info("shell_closed", lease_id=lease_id)

    async def _work(self, lease_id: str) -> Work:
        for work in await self._engine.look():
            ours = work.installation_id == self._installation_id and work.lease_id == lease_id
            if ours and work.phase is Phase.RUNNING:
                if work.shell:
                    return work
                raise StartRefused("Its lease allows no shell.")
        raise StartRefused("The pod does not run on this node now.")

    async def _sized(self, program: Exec, size: Size) -> None:
        """Docker's terminal is there a moment after the program; until then it takes no size."""
        for _ in range(RESIZES_MAX):
            if await program.resize(size.columns, size.rows):
                return
            if await program.exit_code() is not None:
                return
            await self._clock.sleep(PAUSE_SECONDS)

    async def _code(self, program: Exec) -> int:
        """Docker knows the code a moment after the last byte."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_SECONDS_MAX):
                while (code := await program.exit_code()) is None:
                    await self._clock.sleep(PAUSE_SECONDS)
                return code
        return NO_EXIT


class _Session:
    """Bytes both ways between the far end and one program."""

    def __init__(self, program: Exec, *, tty: bool) -> None:
        self._program = program
        self._tty = tty

    async def run(
        self,
        frames: Frames,
        first: list[tuple[Kind, bytes]],
        reader: StreamReader,
        writer: StreamWriter,
    ) -> bool:
        """True when the program ended its output, False when the far end went away."""
        down = asyncio.create_task(self._down(writer))
        up = asyncio.create_task(self._up(frames, first, reader))
        try:
            await asyncio.wait((down, up), return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                up.result()  # what was wrong with the far end's frames
            else:
                down.result()
            return down.done()
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)

    async def _down(self, writer: StreamWriter) -> None:
        """The program's output, until it ends."""
        out = self._program.reader
        if self._tty:
            while piece := await _read(out, PIECE_BYTES):
                writer.write(frame(Kind.STDOUT, piece))
                await writer.drain()
            return
        while head := await _read_all(out, 8):
            kind = Kind.STDERR if head[0] == STDERR else Kind.STDOUT
            left = int.from_bytes(head[4:8], "big")
            while left:
                piece = await _read(out, min(left, PIECE_BYTES))
                if not piece:
                    return
                left -= len(piece)
                writer.write(frame(kind, piece))
                await writer.drain()

    async def _up(
        self, frames: Frames, first: list[tuple[Kind, bytes]], reader: StreamReader
    ) -> None:
        """What the far end sends, until it goes away. The end of stdin is not the end of it."""
        for kind, payload in first:
            await self._take(kind, payload)
        while received := await reader.read(PIECE_BYTES):
            for kind, payload in frames.take(received):
                await self._take(kind, payload)

    async def _take(self, kind: Kind, payload: bytes) -> None:
        program = self._program
        if kind is Kind.STDIN:
            with suppress(ConnectionError):  # it reads no more; its output may still come
                program.writer.write(payload)
                await program.writer.drain()
        elif kind is Kind.STDIN_END:
            with suppress(OSError):
                if self._tty:
                    program.writer.write(b"\x04")
                else:
                    program.writer.write_eof()
        elif kind is Kind.RESIZE:
            size = decode(payload, Size)
            await program.resize(size.columns, size.rows)
        elif kind is Kind.SIGNAL:
            await program.signal(payload[:20].decode("ascii", errors="replace"))
        else:
            raise Malformed("Only the node sends this kind of frame.")


async def _opening(frames: Frames, reader: StreamReader) -> tuple[Open, list[tuple[Kind, bytes]]]:
    """The first frame, and those that came with it."""
    got: list[tuple[Kind, bytes]] = []
    while not got:
        received = await reader.read(PIECE_BYTES)
        if not received:
            raise IncompleteReadError(b"", None)
        got.extend(frames.take(received))
    kind, payload = got[0]
    if kind is not Kind.OPEN:
        raise Malformed("A shell begins with the frame OPEN.")
    return decode(payload, Open), got[1:]


def _command(asked: Open) -> list[str]:
    if asked.command:
        return ["/bin/sh", "-c", COMMAND, "sh", asked.command]
    return ["/bin/sh", "-c", LOGIN]


def _variables(asked: Open) -> list[str]:
    """As Docker wants them; names that no shell could use are left out."""
    chosen = {name: text for name, text in asked.environment.items() if _NAME.fullmatch(name)}
    if asked.tty:
        chosen["TERM"] = asked.term
    return [f"{name}={text}" for name, text in list(chosen.items())[:VARIABLES_MAX]]


async def _read(reader: StreamReader, size: int) -> bytes:
    try:
        return await reader.read(size)
    except ConnectionError:
        return b""


async def _read_all(reader: StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except (IncompleteReadError, ConnectionError):
        return b""
