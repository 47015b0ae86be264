"""One SSH session: a shell or command in the pod's container, over a link to port ``exec``.

What the client's side cannot take stops the reading from the link, and with it the container's
process; what the link cannot take stops the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import asyncssh
import structlog

from inference.pods.front import Front
from inference.pods.table import Run
from kernel.errors import GanglionError
from kernel.wire import decode, encode
from kernel.wire.shell import FRAME_BYTES_MAX, Exit, Frames, Kind, Open, Size, frame

PORT = "exec"
TERM_MAX = 64
COMMAND_BYTES_MAX = 60 * 1024  # of an OPEN frame's 64 KiB
ENVIRONMENT_MAX = 32
NAME_MAX = 32
VALUE_MAX = 1024
LOST_STATUS = 255  # as ssh itself says of a lost connection
# As servers take it by default (AcceptEnv LANG LC_*): a locale, nothing that changes what runs.
LOCALE = (b"LANG", b"LC_")
# Most images keep it in one of these; each is looked for in the container.
SFTP = (
    "for f in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server"
    " /usr/libexec/openssh/sftp-server; do [ -x $f ] && exec $f; done;"
    " command -v sftp-server >/dev/null && exec sftp-server;"
    " echo 'This image has no sftp-server. Install openssh-sftp-server in it, or copy with"
    " tar over ssh.' >&2; exit 127"
)


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...


class ShellSession(asyncssh.SSHServerSession[bytes]):
    """Made for each session of a connection; ``over`` is called once at its end."""

    def __init__(self, front: Front, over: Callable[[ShellSession], None]) -> None:
        self._front = front
        self._over = over
        self._run: Run | None = None
        self._refusal = ""
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._open = Open()
        self._link: ShellLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[bytes] = []  # frames until there is a link
        self._channel_full = False  # the client takes no more now
        self._connection_full = False
        self._link_full = False
        self._done = False
        self._log: Log = structlog.get_logger("inference.pods.ssh")

    @property
    def is_over(self) -> bool:
        """Its exit was said; only the client's last word is missing."""
        return self._done

    def serve(self, run: Run) -> None:
        """The run of the pod that it is for; say this or ``refuse`` before it starts."""
        self._run = run

    def refuse(self, why: str) -> None:
        """End it as soon as it starts, with a line for people."""
        self._refusal = why

    # What the channel tells.

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def connection_lost(self, exc: Exception | None) -> None:
        self._chan = None
        self._finish()
        self._over(self)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: object
    ) -> bool:
        self._open.tty = True
        self._open.term = term_type[:TERM_MAX] or "xterm"
        self._open.size = _size(term_size[0], term_size[1])
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._open.command = command
        return 0 < len(command.encode()) <= COMMAND_BYTES_MAX

    def subsystem_requested(self, subsystem: str) -> bool:
        if subsystem != "sftp":
            return False
        self._open.command = SFTP
        return True

    def session_started(self) -> None:
        assert self._chan is not None, "it is made before it starts"
        if self._run is None:
            self.end(self._refusal)
            return
        self._open.environment = dict(self._chan.get_environment())
        begin = self._begin(self._run)
        self._task = asyncio.get_running_loop().create_task(begin)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        for start in range(0, len(data), FRAME_BYTES_MAX):
            self._send(frame(Kind.STDIN, data[start : start + FRAME_BYTES_MAX]))
        if self._link is None and self._chan is not None:
            self._chan.pause_reading()  # no more than a window waits for the link

    def eof_received(self) -> bool:
        self._send(frame(Kind.STDIN_END))
        return True  # its output goes on

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._link is None:
            self._open.size = _size(width, height)
        else:
            self._send(frame(Kind.RESIZE, encode(_size(width, height))))

    def signal_received(self, signal: str) -> None:
        self._send(frame(Kind.SIGNAL, signal[:32].encode()))

    def break_received(self, msec: int) -> bool:
        self._send(frame(Kind.SIGNAL, b"INT"))
        return True

    def pause_writing(self) -> None:
        self._channel_full = True
        self._hold()

    def resume_writing(self) -> None:
        self._channel_full = False
        self._hold()

    # What the link tells.

    def took(self, kind: Kind, payload: bytes) -> None:
        """A frame of the agent's. Raises ``Malformed`` when it is none."""
        chan = self._chan
        if chan is None or self._done:
            return
        if kind is Kind.STDOUT:
            self._put(chan.write, payload)
        elif kind is Kind.STDERR:
            self._put(chan.write_stderr, payload)
        elif kind is Kind.EXIT:
            ended = decode(payload, Exit)
            if ended.reason:
                self._say(ended.reason)
            self._exit(ended.code)

    def lost(self) -> None:
        """The link ended without the process's end."""
        self.end("The connection to the pod was lost.")

    def link_paused(self, paused: bool) -> None:
        self._link_full = paused
        if self._chan is not None and not self._done:
            if paused:
                self._chan.pause_reading()
            else:
                self._chan.resume_reading()

    # What the connection tells.

    def end(self, why: str) -> None:
        """End the session with a line for people."""
        if not self._done:
            self._say(why)
            self._exit(LOST_STATUS)

    def connection_full(self, full: bool) -> None:
        """The connection's own buffer is full: asyncssh leaves that to its user."""
        self._connection_full = full
        self._hold()

    async def _begin(self, run: Run) -> None:
        try:
            transport = await self._front.open(run, PORT)
        except GanglionError as error:
            self._log.info("no_shell", pod=run.pod_id, reason=str(error.internal))
            self.end("The machine of this pod does not answer; try again.")
            return
        link = ShellLink(self)
        if not link.attach(transport):
            self.lost()
            return
        self._link = link
        self._hold()
        link.write(frame(Kind.OPEN, encode(self._open)))
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            link.write(one)
        self.link_paused(self._link_full)

    def _send(self, framed: bytes) -> None:
        if self._done:
            return
        if self._link is not None:
            self._link.write(framed)
        else:
            self._waiting.append(framed)

    def _hold(self) -> None:
        if self._link is not None:
            self._link.pause(self._channel_full or self._connection_full)

    def _say(self, line: str) -> None:
        chan = self._chan
        if chan is not None:
            text = f"{line}\r\n" if self._open.tty else f"{line}\n"
            self._put(chan.write_stderr, text.encode())

    def _put(self, write: Callable[[bytes], None], part: bytes) -> None:
        try:
            write(part)
        except OSError:  # the client closed this session meanwhile
            self._finish()

    def _exit(self, code: int) -> None:
        chan = self._chan
        self._finish()
        if chan is not None:
            chan.exit(code)

    def _finish(self) -> None:
        """Nothing more goes either way; the agent ends what still runs when its link closes."""
        self._done = True
        self._waiting = []
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        if self._link is not None:
            self._link.drop()


class ShellLink(asyncio.Protocol):
    """Frames over a raw link."""

    def __init__(self, session: ShellSession) -> None:
        self._session = session
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def attach(self, transport: asyncio.Transport) -> bool:
        """Take over a raw link. False when it was lost before anybody listened."""
        transport.set_protocol(self)
        self._transport = transport
        return not transport.is_closing()

    def write(self, framed: bytes) -> None:
        if self._transport is not None:
            self._transport.write(framed)

    def pause(self, paused: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, received: bytes) -> None:
        try:
            for kind, payload in self._frames.take(received):
                self._session.took(kind, payload)
        except GanglionError:
            self._session.lost()

    def pause_writing(self) -> None:
        self._session.link_paused(True)

    def resume_writing(self) -> None:
        self._session.link_paused(False)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._session.lost()


def _size(columns: int, rows: int) -> Size:
    return Size(min(max(columns, 1), 10_000), min(max(rows, 1), 10_000))


class Locale(dict[bytes, bytes]):
    """What a client asked to set; keeps the locale alone, and little of it."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        fits = len(self) < ENVIRONMENT_MAX and len(name) <= NAME_MAX and len(value) <= VALUE_MAX
        if fits and name.startswith(LOCALE):
            super().__setitem__(name, value)
