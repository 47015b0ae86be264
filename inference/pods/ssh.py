"""SSH at one place: the user's name is the pod, the account's public keys are the way in.

Nothing of a pod's image is needed for it, and nothing of this machine is reached by it: sessions
go to the pod's container, forwarded connections to its opened ports, all else is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import asyncssh
import structlog

from inference.pods import keys
from inference.pods.forward import ForwardSession
from inference.pods.front import Front
from inference.pods.host_key import host_key
from inference.pods.reach import check_port, running
from inference.pods.shell import Locale, ShellSession
from inference.pods.table import Run
from kernel.errors import GanglionError
from kernel.wire.gateway import PodRow

WINDOW_BYTES = 512 * 1024  # what a client may send ahead, for each session
PACKET_BYTES = 32 * 1024
UNPROVED_SHARE = 4  # of all connections, so many parts may not have logged in yet
CALLS_PER_TRY = 4  # a key is asked about, then used
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
SHUT = "This front is restarted; connect again."


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...


class PodServer(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, front: Front, unproved: set[PodServer]) -> None:
        self._front = front
        self._settings = front.settings
        self._unproved = unproved
        self._conn: asyncssh.SSHServerConnection | None = None
        self._address = ""
        self._counted = False
        self._refused = False
        self._pod_id = ""  # once logged in
        self._tries = self._calls = 0
        self._sessions: set[ShellSession | ForwardSession] = set()
        self._ends: dict[ShellSession | ForwardSession, Callable[[], None]] = {}
        self._log: Log = structlog.get_logger("inference.pods.ssh")

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        front, settings = self._front, self._settings
        self._conn = conn
        peer = conn.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        trusted = self._address in settings.trusted  # it stands for many people
        self._counted = not trusted and front.ssh_addresses.take(self._address)
        front.counted["ssh_connections"] += 1
        front.ssh_connections += 1
        full = (
            not (trusted or self._counted)
            or front.draining
            or front.ssh_connections > settings.ssh_connections_max
            or len(self._unproved) >= max(settings.ssh_connections_max // UNPROVED_SHARE, 1)
            or front.ssh_failures.too_many(self._address)
        )
        if full:
            front.counted["ssh_refused"] += 1
            self._refused = True
            conn.abort()
            return
        self._unproved.add(self)
        front.connections.add(self)
        # asyncssh does nothing with a full socket: a client that opens a wide window and then
        # reads nothing would have all of it kept here.
        conn.pause_writing = self._full  # type: ignore[method-assign]
        conn.resume_writing = self._empty  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        front = self._front
        self._conn = None
        front.ssh_connections -= 1
        self._unproved.discard(self)
        front.connections.discard(self)
        if self._counted:
            front.ssh_addresses.give(self._address)
            self._counted = False
        if not self._pod_id and not self._refused:
            if self._address not in self._settings.trusted:
                front.ssh_failures.add(self._address)
            front.counted["ssh_failed"] += 1
        for session in list(self._sessions):
            if isinstance(session, ForwardSession):
                session.drop()
            self._over(session)

    # Who it is.

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._calls += 1
        row = self._front.pods.by_user(username)
        good = (
            row is not None
            and row.ssh
            and self._front.why_not_ready() is None
            and keys.holds(row.ssh_keys, key.public_data)
        )
        self._tries += not good
        tries_max = self._settings.ssh_login_tries_max
        if self._tries > tries_max or self._calls > tries_max * CALLS_PER_TRY:
            if self._conn is not None:
                code = asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE
                self._conn.disconnect(code, "Too many keys were tried.")
            return False
        return good

    def auth_completed(self) -> None:
        conn = self._conn
        assert conn is not None, "it stands while it logs in"
        row = self._front.pods.by_user(str(conn.get_extra_info("username")))
        self._unproved.discard(self)
        self._pod_id = row.pod_id if row is not None else "gone"
        self._front.counted["ssh_logins"] += 1
        self._log.info("ssh_login", pod=self._pod_id, address=self._address)

    # What it may have.

    def session_requested(
        self,
    ) -> bool | tuple[asyncssh.SSHServerChannel[bytes], ShellSession]:
        conn = self._conn
        if conn is None or self._crowded():
            return False
        session = ShellSession(self._front, self._over)
        self._sessions.add(session)
        try:
            session.serve(self._take(session, self._row()))
        except GanglionError as error:
            session.refuse(error.detail)
        chan = conn.create_server_channel(None, "strict", WINDOW_BYTES, PACKET_BYTES)
        chan._env = Locale()  # asyncssh would keep all that a client sends
        return chan, session

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> tuple[asyncssh.SSHTCPChannel[bytes], Coroutine[None, None, ForwardSession]]:
        conn = self._conn
        if conn is None or self._crowded():
            raise _prohibited("Too many sessions are open on this connection.")
        session = ForwardSession(self._over)
        try:
            row = self._row()
            if dest_host.lower() not in LOCAL | {row.slug}:
                raise _prohibited("Only the pod's own ports are forwarded: say localhost.")
            check_port(row, dest_port)
            self._sessions.add(session)
            run = self._take(session, row)
        except GanglionError as error:
            self._over(session)
            raise _prohibited(error.detail) from None
        chan = conn.create_tcp_channel(None, "strict", WINDOW_BYTES, PACKET_BYTES)
        return chan, self._forward(session, run, dest_port)

    # What the front asks for.

    def watch(self, now_ns: int) -> None:
        """asyncssh keeps the deadlines of a connection by itself."""

    def shut(self) -> None:
        for session in list(self._sessions):
            if isinstance(session, ShellSession):
                session.end(SHUT)

    def cut(self) -> None:
        if self._conn is not None:
            self._conn.abort()

    async def _forward(self, session: ForwardSession, run: Run, port: int) -> ForwardSession:
        try:
            link = await self._front.open(run, port)
        except GanglionError as error:
            self._over(session)
            code = asyncssh.OPEN_CONNECT_FAILED
            raise asyncssh.ChannelOpenError(code, error.detail) from None
        if not session.attach(link) or self._conn is None:
            link.abort()
            self._over(session)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "It was lost.")
        return session

    def _row(self) -> PodRow:
        row = self._front.pods.by_id(self._pod_id)
        if row is None or not row.ssh:
            raise GanglionError("This pod is gone, or takes no SSH any more.")
        return row

    def _take(self, session: ShellSession | ForwardSession, row: PodRow) -> Run:
        """Count it with the pod, and end it with the pod's run. Raises ``GanglionError``."""
        front = self._front
        run = running(row)
        if not front.busy.take(row.pod_id):
            raise GanglionError("Too many connections to this pod are open.")

        def ended(why: str) -> None:
            if isinstance(session, ShellSession):
                session.end(why)
            else:
                session.drop()

        leave = front.pods.watch(run, ended)

        def end() -> None:
            leave()
            front.busy.give(row.pod_id)

        self._ends[session] = end
        return run

    def _crowded(self) -> bool:
        """A channel whose end was said does not count: its client may have read that already while
        the library has yet to tell us. There are never more than twice as many in all."""
        most = self._settings.ssh_channels_max
        open_ones = sum(not session.is_over for session in self._sessions)
        return open_ones >= most or len(self._sessions) >= 2 * most

    def _over(self, session: ShellSession | ForwardSession) -> None:
        self._sessions.discard(session)
        end = self._ends.pop(session, None)
        if end is not None:
            end()

    def _full(self) -> None:
        for session in self._sessions:
            session.connection_full(True)

    def _empty(self) -> None:
        for session in self._sessions:
            session.connection_full(False)


async def listen(front: Front) -> asyncssh.SSHAcceptor:
    """Take connections. Raises ``OSError`` when the port or the host key cannot be had."""
    settings = front.settings
    asyncssh.set_log_level("CRITICAL")  # what it says at other levels names users and commands
    unproved: set[PodServer] = set()
    place = await asyncio.to_thread(host_key, settings.ssh_host_key_dir)
    return await asyncssh.create_server(
        lambda: PodServer(front, unproved),
        settings.ssh_host,
        settings.ssh_port,
        server_host_keys=[str(place)],
        backlog=256,
        reuse_address=True,
        config=None,
        server_version="Ganglion",
        encoding=None,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        x11_forwarding=False,
        agent_forwarding=False,
        allow_scp=False,
        compression_algs=None,
        rdns_lookup=False,
        login_timeout=settings.ssh_login_seconds_max,
        keepalive_interval=settings.ssh_keepalive_seconds,
        keepalive_count_max=settings.ssh_keepalive_count_max,
    )


def _prohibited(why: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
