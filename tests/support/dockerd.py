"""A real dockerd for a test run, from Debian packages unpacked into .parts; nothing installed.

It has a bridge of its own and touches no firewall rule: ports are published by its user-land
proxy, which needs none. It runs in a process that ends, and cleans up, with the test run.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from tests.support.shared import RUN_PID, locked
from tests.support.wait import pause
from tools import debian_parts
from tools.parts import is_required, why_missing

START_SECONDS_MAX = 60
REMOVE_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 120  # a command in a container that fills a disk says nothing meanwhile
ROOT = Path(__file__).resolve().parents[2]
SIOCBRADDBR, SIOCBRDELBR = 0x89A0, 0x89A1
SIOCSIFADDR, SIOCSIFNETMASK = 0x8916, 0x891C
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1
MNT_DETACH = 2
ADDRESSES = "base=10.201.0.0/16,size=26"  # room for a network for every lease of a long run
BRIDGE = "gngt"  # and the keeper's pid


@pytest.fixture(scope="session")
def dockerd(run_folder: Path) -> str:
    """The address of the run's dockerd; skips with the reason where there can be none."""
    reason = why_missing("dockerd")
    if reason:
        if is_required():
            pytest.fail(f"dockerd is required here: {reason}")
        pytest.skip(f"no dockerd: {reason}")
    address = run_folder / "dockerd.url"
    with locked(run_folder, "dockerd"):
        if not address.exists():
            _start_keeper(run_folder, address)
    return address.read_text()


@pytest.fixture
def engine_client(dockerd: str) -> Iterator[docker.APIClient]:
    """The SDK's own client, to look at what the agent made."""
    client = docker.APIClient(base_url=dockerd, version="auto", timeout=ANSWER_SECONDS_MAX)
    yield client
    client.close()


def _start_keeper(folder: Path, address: Path) -> None:
    log = folder / "dockerd-keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dockerd", str(folder), os.environ[RUN_PID]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not address.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd did not start: {log.read_text()[-3000:]}")
        pause(0.05)
    keeper.returncode = 0  # it outlives this process on purpose; nobody here waits for it


class Dockerd:
    """One daemon with its data in ``home``, which must have a short path for its sockets."""

    def __init__(
        self,
        home: Path,
        *,
        bridge: str | None,
        log: int,
        live_restore: bool = False,
        programs: Path | None = None,  # found by the daemon before all others
        network: str | None = None,  # a network namespace of its own, with rules of its own
        addresses: str = ADDRESSES,
    ) -> None:
        self.home = home
        self._bridge = bridge
        self._log = log
        self._live_restore = live_restore
        self._programs = programs
        self._network = network
        self._addresses = addresses
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.home}/docker.sock"

    def start(self) -> None:
        """Returns when it answers; raises ``RuntimeError`` when it does not."""
        for stale in ("docker.pid", "exec/containerd/containerd.pid"):
            (self.home / stale).unlink(missing_ok=True)
        (self.home / "daemon.json").write_text("{}")
        library = ctypes.CDLL(None)
        self._process = subprocess.Popen(
            self._command(),
            env=environment(self._programs),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=lambda: library.prctl(1, int(signal.SIGTERM), 0, 0, 0),
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("dockerd ended or does not answer")
            pause(0.1)

    def sweep(self) -> None:
        """End what runs in it and take its networks away: their bridges are the machine's."""
        client = docker.APIClient(base_url=self.url, version="auto", timeout=ANSWER_SECONDS_MAX)
        remove_all(client)
        client.prune_networks()  # type: ignore[no-untyped-call]
        client.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """Take its folder away, and what a killed daemon left mounted in it."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in reversed(mounts):
            if point.startswith(f"{self.home}/"):
                ctypes.CDLL(None).umount2(point.encode(), MNT_DETACH)
        shutil.rmtree(self.home, ignore_errors=True)

    def _command(self) -> list[str]:
        dockerd = debian_parts.DEBIAN / "docker" / "usr" / "sbin" / "dockerd"
        own = json.dumps(self._network is not None)
        options = {
            "host": self.url,
            "data-root": f"{self.home}/root",
            "exec-root": f"{self.home}/exec",
            "pidfile": f"{self.home}/docker.pid",
            "bridge": self._bridge or "none",
            "iptables": own,
            "ip6tables": "false",
            "ip-forward": own,
            "ip-masq": own,
            "live-restore": json.dumps(self._live_restore),
            "log-level": "warn",
            "group": "root",
            "default-address-pool": self._addresses,
            "config-file": f"{self.home}/daemon.json",  # not the machine's own
        }
        before = ["nsenter", f"--net=/run/netns/{self._network}"] if self._network else []
        return [*before, str(dockerd), *(f"--{name}={value}" for name, value in options.items())]

    def _answers(self) -> bool:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(f"{self.home}/docker.sock")
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(100)
        except OSError:
            return False
        finally:
            client.close()


def environment(first: Path | None) -> dict[str, str]:
    """The unpacked folder first on every path."""
    part = debian_parts.DEBIAN / "docker"
    programs = [
        *([first] if first else []),
        part / "usr" / "sbin",
        part / "usr" / "bin",
        part / "sbin",
    ]
    rules = debian_parts.DEBIAN / "iptables"
    libraries = [*part.glob("usr/lib/*-linux-gnu"), *part.glob("lib/*-linux-gnu")]
    libraries += rules.glob("usr/lib/*-linux-gnu")
    return {
        "XTABLES_LIBDIR": str(libraries[-1] / "xtables"),
        "PATH": ":".join([*map(str, programs), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "HOME": "/root",
    }


def remove_all(client: docker.APIClient, label: str = "") -> None:
    """Remove every container (with this label), also those that somebody removes just now: such
    a one is shown until it is gone, and may answer with a conflict or that it is not there."""
    filters = {"label": label} if label else {}
    deadline = time.monotonic() + REMOVE_SECONDS_MAX
    while found := client.containers(all=True, filters=filters):
        for one in found:
            with suppress(docker.errors.NotFound):
                try:
                    client.remove_container(one["Id"], force=True, v=True)
                except docker.errors.APIError as failed:
                    if failed.status_code != 409 or time.monotonic() > deadline:
                        raise
        pause(0.05)


def remove_networks(client: docker.APIClient, label: str) -> None:
    """Those with this label. Docker prunes for one caller at a time and refuses the others."""
    for one in client.networks(filters={"label": label}):
        with suppress(docker.errors.NotFound):
            client.remove_network(one["Id"])


def make_bridge(name: str, address: str) -> None:
    """A bridge with an address, made by ioctl: a plain machine need not have ``ip``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCBRADDBR, name.encode() + b"\0")
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
            where = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), where))
        asked = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack("16sH22x", asked)[1] | IFF_UP
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


def remove_bridge(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, suppress(OSError):
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        fcntl.ioctl(control, SIOCBRDELBR, name.encode() + b"\0")


def sweep_bridges() -> None:
    """Take away bridges of keepers that were killed."""
    for entry in Path("/sys/class/net").glob(f"{BRIDGE}*"):
        owner = entry.name.removeprefix(BRIDGE)
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove_bridge(entry.name)


async def keep(folder: Path, pid: int) -> None:
    """Run a dockerd, write its address to ``folder``, and hold it until ``pid`` ends."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, gone.set)
    loop.add_reader(os.pidfd_open(pid), gone.set)
    sweep_bridges()
    bridge = f"{BRIDGE}{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="gng-docker-", dir="/tmp"))
    log = os.open(folder / "dockerd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = Dockerd(home, bridge=bridge, log=log)
    try:
        make_bridge(bridge, f"172.29.{os.getpid() % 250 + 1}.1")
        server.start()
        pending = folder / "dockerd.url.new"
        pending.write_text(server.url)
        pending.rename(folder / "dockerd.url")
        await gone.wait()
        server.sweep()
    finally:
        server.stop()
        remove_bridge(bridge)
        server.remove()


if __name__ == "__main__":
    asyncio.run(keep(Path(sys.argv[1]), int(sys.argv[2])))
