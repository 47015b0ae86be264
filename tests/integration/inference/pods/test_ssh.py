"""SSH into a pod through the front's own process: the real client, and asyncssh's own."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from kernel.wire.gateway import ChangeLine, PodState
from tests.integration.inference.pods.conftest import Begin, World
from tests.support.pod_front import pod_row
from tests.support.ssh_client import OpenSsh
from tests.support.wait import free_port, until

pytestmark = pytest.mark.feature("E3")
SECONDS_MAX = 60


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture
def lines(key: asyncssh.SSHKey) -> list[str]:
    return [key.export_public_key().decode().strip() + " me@home"]


@asynccontextmanager
async def login(
    world: World, key: asyncssh.SSHKey, user: str = "mypod", **options: object
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncio.timeout(SECONDS_MAX):
        connection = await asyncssh.connect(
            "127.0.0.1",
            world.front.ssh_port,
            username=user,
            client_keys=[key],
            known_hosts=None,
            config=None,
            agent_path=None,
            **options,  # type: ignore[arg-type]
        )
    async with connection:
        yield connection


async def test_the_real_client_gets_in(
    begin: Begin, tmp_path: Path, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    world.node.environment["FOO"] = "from the pod"
    ssh = OpenSsh(tmp_path, world.front.ssh_port, key)
    code, out, err = await ssh("mypod@127.0.0.1", 'echo "$FOO"; echo aside >&2; exit 7')
    assert (code, out) == (7, b"from the pod\n")
    assert b"aside\n" in err
    assert b"from the pod" not in err


async def test_fifty_megabytes_go_both_ways_whole(
    begin: Begin, tmp_path: Path, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    before = world.front.rss_mib()
    content = os.urandom(1 << 20) * 50
    code, out, _ = await OpenSsh(tmp_path, world.front.ssh_port, key)(
        "mypod@127.0.0.1", "cat", stdin=content
    )
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(content).digest()
    assert world.front.rss_mib() - before < 24


async def test_a_client_that_is_killed_ends_its_process(
    begin: Begin, tmp_path: Path, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    client = await OpenSsh(tmp_path, world.front.ssh_port, key).start(
        "mypod@127.0.0.1", "echo up; exec sleep 1000"
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"up\n"
    client.kill()
    await client.wait()
    await until(lambda: world.node.shells[0].returncode is not None, 20)


async def test_a_terminal_has_its_size_and_follows_changes(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        shell = await connection.create_process(
            term_type="vt100", term_size=(101, 41), env={"LC_ALL": "C", "LD_PRELOAD": "/x"}
        )
        shell.stdin.write("stty size; echo term=$TERM lc=$LC_ALL ld=$LD_PRELOAD.\n")
        await shell.stdout.readuntil("41 101")
        await shell.stdout.readuntil("term=vt100 lc=C ld=.")
        shell.change_terminal_size(77, 22)
        shell.stdin.write("stty size; exit 3\n")
        await shell.stdout.readuntil("22 77")
        await shell.wait()
    assert shell.exit_status == 3


async def test_signals_and_the_end_of_input_arrive(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        counted = await connection.run("wc -c", input="12345")
        assert counted.stdout.strip() == "5"  # type: ignore[union-attr]
        trap = 'trap "echo caught; exit 4" USR1; echo ready; while :; do sleep 0.05; done'
        waiting = await connection.create_process(trap)
        await waiting.stdout.readuntil("ready")
        waiting.send_signal("USR1")
        await waiting.stdout.readuntil("caught")
        await waiting.wait()
    assert waiting.exit_status == 4


@pytest.mark.parametrize("window", [1 << 16, 1 << 30], ids=["small window", "huge window"])
async def test_a_slow_reader_stops_the_process_in_the_pod(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str], tmp_path: Path, window: int
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    count = tmp_path / "count"
    flood = f"while head -c 1000000 /dev/zero; do echo >> {count}; done"
    async with login(world, key) as connection:
        before = world.front.rss_mib()
        process = await connection.create_process(flood, encoding=None, window=window)
        if window > 1 << 20:
            connection._transport.pause_reading()  # type: ignore[union-attr]
        last = -1

        def still() -> bool:
            nonlocal last
            now = count.stat().st_size if count.exists() else 0
            same, last = now == last and now > 0, now
            return same

        await until(still, 60, every=1.0)
        assert last < 40
        assert world.front.rss_mib() - before < 24
        assert process.exit_status is None
        connection.abort()  # a polite end would wait for what is not read


@pytest.mark.parametrize("user", ["mypod", "other", "pod_" + "0" * 31 + "1", "root"])
async def test_a_strange_key_is_refused_whoever_is_named(
    begin: Begin, lines: list[str], user: str
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    strange = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        async with login(world, strange, user):
            pass


async def test_the_account_whose_keys_changed_is_heard_at_once(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    async with login(world, key, "pod_" + "0" * 31 + "1") as connection:
        assert (await connection.run("echo in")).stdout == "in\n"
    world.brain.tell(ChangeLine(pod=pod_row(ssh_keys=[])))

    async def refused() -> bool:
        try:
            async with login(world, key):
                return False
        except asyncssh.PermissionDenied:
            return True

    await until(refused, 20)


async def test_passwords_and_other_ways_are_not_even_offered(
    begin: Begin, tmp_path: Path, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    strange = asyncssh.generate_private_key("ssh-ed25519")
    code, _, err = await OpenSsh(tmp_path, world.front.ssh_port, strange)("mypod@127.0.0.1", "true")
    assert code == 255
    assert b"Permission denied (publickey)." in err


async def test_a_client_that_tries_many_keys_is_cut_off(begin: Begin, lines: list[str]) -> None:
    world = await begin(row=pod_row(ssh_keys=lines), ssh_login_tries_max=2)
    strange = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(5)]
    with pytest.raises(asyncssh.DisconnectError, match="Too many keys"):
        await asyncssh.connect(
            "127.0.0.1",
            world.front.ssh_port,
            username="mypod",
            client_keys=strange,
            known_hosts=None,
            config=None,
            agent_path=None,
        )


async def test_who_does_not_log_in_is_dropped_and_addresses_are_limited(
    begin: Begin, lines: list[str]
) -> None:
    world = await begin(
        row=pod_row(ssh_keys=lines), ssh_login_seconds_max=3, ssh_connections_per_address_max=2
    )
    port = world.front.ssh_port
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, _ in held:
        assert await reader.readline() == b"SSH-2.0-Ganglion\r\n"
    third, _ = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await third.readexactly(4)
    for reader, writer in held:
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()


async def test_own_ports_are_forwarded_and_nothing_else(
    begin: Begin, tmp_path: Path, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    world = await begin(echo, pod_row(ssh_keys=lines))
    local = free_port()
    client = await OpenSsh(tmp_path, world.front.ssh_port, key).start(
        "-N", "-L", f"127.0.0.1:{local}:localhost:8000", "mypod@127.0.0.1"
    )

    async def through() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"there and back" * 10_000)
        writer.write_eof()
        return await reader.read()

    assert await until(through, 30) == b"there and back" * 10_000
    client.kill()
    await client.wait()
    world.node.targets[9000] = world.node.targets[8000]  # there, but not opened
    async with login(world, key) as connection:
        for host, port in (("localhost", 9000), ("10.0.0.1", 8000), ("169.254.169.254", 80)):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection(host, port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("", 0, "localhost", 1)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_unix_connection("/var/run/docker.sock")


async def test_agent_and_x11_are_not_forwarded(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    async with login(world, key, agent_forwarding=True) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process("true", x11_forwarding=True)
        ran = await connection.run("echo agent=$SSH_AUTH_SOCK. display=$DISPLAY.")
    assert ran.stdout == "agent=. display=.\n"


async def test_a_lease_that_ends_ends_its_shells_with_a_line(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        process = await connection.create_process("echo up; sleep 1000")
        await process.stdout.readuntil("up")
        stopped = pod_row(ssh_keys=lines, state=PodState.STOPPED, reason="Out of credit.")
        world.brain.tell(ChangeLine(pod=stopped))
        assert "The pod has stopped: Out of credit." in await process.stderr.read()
        await process.wait()
        assert process.exit_status == 255
        again = await connection.run("true")
        assert (again.exit_status, "not running" in str(again.stderr)) == (255, True)
    await until(lambda: world.node.shells[0].returncode is not None, 20)


async def test_a_node_that_does_not_answer_is_told_as_that(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines), pod_link_seconds_max=0.5)
    world.node.silent = True
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        ran = await connection.run("true")
    assert ran.exit_status == 255
    assert "does not answer" in str(ran.stderr)


async def test_sftp_runs_the_images_own_server(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str], tmp_path: Path
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    servers = ("/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
    there = any(Path(one).exists() for one in servers)
    (tmp_path / "from").write_bytes(os.urandom(3 << 20))
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        if there:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(tmp_path / "from"), str(tmp_path / "to"))
            assert (tmp_path / "to").read_bytes() == (tmp_path / "from").read_bytes()
        else:
            with pytest.raises(asyncssh.Error):
                await connection.start_sftp_client()


async def test_sessions_of_a_connection_and_of_a_pod_are_limited(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(
        row=pod_row(ssh_keys=lines), ssh_channels_max=3, pod_connections_per_pod_max=2
    )
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        for _ in range(2):
            await connection.create_process("sleep 1000")
        third = await connection.create_process("true")
        assert "Too many connections to this pod" in await third.stderr.read()
        await third.wait()
        for _ in range(3):
            refused = await connection.run("true")
            assert refused.exit_status == 255
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        again = await until(lambda: _runs(connection), 20)
    assert again


async def _runs(connection: asyncssh.SSHClientConnection) -> bool:
    return (await connection.run("true")).exit_status == 0


async def test_the_host_key_is_made_once_and_a_stop_tells_shells(
    begin: Begin, key: asyncssh.SSHKey, lines: list[str]
) -> None:
    world = await begin(row=pod_row(ssh_keys=lines))
    place = world.front.home / "ssh" / "ssh_host_ed25519_key"
    assert place.stat().st_mode & 0o777 == 0o600
    async with login(world, key) as connection, asyncio.timeout(SECONDS_MAX):
        host_key = connection.get_server_host_key()
        assert host_key is not None
        public = asyncssh.import_public_key(place.with_suffix(".pub").read_bytes())
        assert host_key.public_data == public.public_data
        process = await connection.create_process("echo up; sleep 1000")
        await process.stdout.readuntil("up")
        world.front.process.terminate()
        assert "connect again" in await process.stderr.read()
    assert await asyncio.to_thread(world.front.process.wait, 30) == 0
