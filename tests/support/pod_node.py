"""The node's end of links, for tests of the front alone: it answers ``need`` with links to ports
of this machine, and to a shell that is a plain process here. The real agent is tested end to end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec

from kernel.wire import links as wire
from kernel.wire.shell import Exit, Frames, Kind, Open, Size, frame
from node_agent.link_dial import Dialler

PIECE = 32 * 1024


@dataclass
class PodNode:
    """``targets`` maps ports of the pod to ports here; what is not in it is refused."""

    boot_id: str
    url: str
    lease_id: str
    key: bytes
    targets: dict[int, int] = field(default_factory=dict)
    epoch: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    silent: bool = False  # takes wishes and does nothing
    served: list[int | str] = field(default_factory=list)
    shells: list[asyncio.subprocess.Process] = field(default_factory=list)
    _number: int = 1
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _transports: list[asyncio.Transport] = field(default_factory=list)

    async def join(self) -> None:
        """Open the control link and obey it until ``leave``."""
        reader, writer = await self._dial(wire.CONTROL)
        self._spawn(self._obey(reader, writer))

    async def leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in self._transports:
            transport.abort()
        for shell in self.shells:
            _end(shell)
            shell._transport.close()  # type: ignore[attr-defined]  # wait() waits for unread output

    async def _dial(self, port: int | str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._number += 1
        link = wire.LinkRequest(self.lease_id, self.epoch, port, self.boot_id, self._number)
        transport, rest = await Dialler().open(self.url, link, self.key)
        self._transports.append(transport)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest:
            reader.feed_data(rest)
        transport.resume_reading()
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = wire.Lines()
        while received := await reader.read(PIECE):
            for line in lines.take(received):
                if not isinstance(line, wire.Need) or self.silent:
                    continue
                if isinstance(line.port, int) and line.port not in self.targets:
                    refusal = wire.Refuse(line.count, line.port, "nothing there")
                    writer.write(wire.write_line(refusal))
                    continue
                for _ in range(line.count):
                    self._spawn(self._serve(line.port))

    async def _serve(self, port: int | str) -> None:
        reader, writer = await self._dial(port)
        self.served.append(port)
        if port == wire.EXEC:
            await self._shell(reader, writer)
            return
        assert isinstance(port, int)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.targets[port])
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        for one in (writer, far_writer):
            one.close()

    async def _shell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        first: list[tuple[Kind, bytes]] = []
        while not first:
            first = list(frames.take(await reader.read(PIECE)))
        asked = msgspec.json.decode(first.pop(0)[1], type=Open)
        shell = _TtyShell if asked.tty else _PlainShell
        program = shell(asked, self.environment)
        process = await program.start()
        self.shells.append(process)

        async def feed() -> None:
            pending = first
            while True:
                for kind, payload in pending:
                    await program.take(kind, payload)
                received = await reader.read(PIECE)
                if not received:
                    _end(process)
                    return
                pending = list(frames.take(received))

        feeding = asyncio.ensure_future(feed())
        try:
            await program.pump(writer)
            code = await process.wait()
            writer.write(frame(Kind.EXIT, msgspec.json.encode(Exit(code))))
            await writer.drain()
        except OSError:
            _end(process)
        finally:
            feeding.cancel()
            writer.close()

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


class _PlainShell:
    def __init__(self, asked: Open, environment: dict[str, str]) -> None:
        self._asked = asked
        self._environment = {"PATH": os.environ["PATH"], **environment, **asked.environment}

    async def start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *("/bin/sh", *(["-c", self._asked.command] if self._asked.command else [])),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self._environment,
            start_new_session=True,
        )
        return self.process

    async def take(self, kind: Kind, payload: bytes) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        with suppress(ConnectionError):
            if kind is Kind.STDIN:
                stdin.write(payload)
                await stdin.drain()
            elif kind is Kind.STDIN_END:
                stdin.close()
            elif kind is Kind.SIGNAL:
                self.process.send_signal(getattr(signal, f"SIG{payload.decode()}"))

    async def pump(self, writer: asyncio.StreamWriter) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        await asyncio.gather(
            _frames(self.process.stdout, Kind.STDOUT, writer),
            _frames(self.process.stderr, Kind.STDERR, writer),
        )


class _TtyShell(_PlainShell):
    async def start(self) -> asyncio.subprocess.Process:
        self._master, slave = pty.openpty()
        self._resize(self._asked.size or Size())
        self.process = await asyncio.create_subprocess_exec(
            *("/bin/sh", *(["-c", self._asked.command] if self._asked.command else [])),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**self._environment, "TERM": self._asked.term, "PS1": "pod> "},
            preexec_fn=lambda: _lead(slave),
        )
        os.close(slave)
        return self.process

    async def take(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.STDIN:
            await asyncio.to_thread(os.write, self._master, payload)
        elif kind is Kind.RESIZE:
            self._resize(msgspec.json.decode(payload, type=Size))

    async def pump(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while piece := await loop.run_in_executor(None, os.read, self._master, PIECE):
                writer.write(frame(Kind.STDOUT, piece))
                await writer.drain()
        except OSError:
            return  # the terminal's other side is closed

    def _resize(self, size: Size) -> None:
        packed = struct.pack("HHHH", size.rows, size.columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)


def _lead(terminal: int) -> None:
    """Lead a session at this terminal. Event loops differ in when they would begin one."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _end(process: asyncio.subprocess.Process) -> None:
    """With all that it started: they hold its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _frames(out: asyncio.StreamReader, kind: Kind, writer: asyncio.StreamWriter) -> None:
    while piece := await out.read(PIECE):
        writer.write(frame(kind, piece))
        await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@asynccontextmanager
async def node_for(
    boot_id: str, url: str, lease_id: str, key: str, **fields: object
) -> AsyncIterator[PodNode]:
    node = PodNode(boot_id, url, lease_id, bytes.fromhex(key), **fields)  # type: ignore[arg-type]
    await node.join()
    try:
        yield node
    finally:
        await node.leave()
