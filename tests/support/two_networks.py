"""A host in a network namespace, and around it a LAN, a cloud's metadata and "the internet".

The host's namespace has the addresses and routes of a machine behind a router; the other one
plays all that is outside. The machine's own network and firewall stay untouched.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.wait import pause
from tools.debian_parts import DEBIAN

ROOT = Path(__file__).resolve().parents[2]
INTERNET, HOST = "203.0.113.1", "203.0.113.2"
LAN, HOST_IN_LAN = "192.168.77.1", "192.168.77.2"
METADATA = "169.254.169.254"
SHARED = "100.100.100.200"  # another cloud's metadata
HOST_PORT = 8123
LOOKS_MAX = 200


@dataclass(frozen=True)
class Networks:
    """The namespaces' names."""

    host: str
    outside: str

    def command(self, *command: str, check: bool = True) -> str:
        """Run in the host's namespace."""
        done = subprocess.run(
            [*enter(self.host), *command],
            env=firewall_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=check,
        )
        return done.stdout


def enter(name: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{name}"]


def firewall_environment() -> dict[str, str]:
    """iptables from the unpacked part."""
    part = DEBIAN / "iptables"
    libraries = next(part.glob("usr/lib/*-linux-gnu"))
    return {
        "PATH": f"{firewall_programs()}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


def firewall_programs() -> Path:
    """A folder with iptables by its usual names, as Debian's alternatives would make them."""
    folder = DEBIAN / "iptables" / "usr" / "alternatives"
    folder.mkdir(exist_ok=True)
    for name in ("iptables", "ip6tables"):
        for tail in ("", "-restore", "-save"):
            with suppress(FileExistsError):
                (folder / f"{name}{tail}").symlink_to("../sbin/xtables-nft-multi")
    return folder


@contextmanager
def two_networks() -> Iterator[Networks]:
    """Made, and gone with what runs in them at the end. Needs root and ``ip``."""
    nets = Networks(f"gngh{os.getpid()}", f"gngo{os.getpid()}")
    inner, outer = f"gvi{os.getpid()}", f"gvo{os.getpid()}"
    lines = [
        f"netns add {nets.host}",
        f"netns add {nets.outside}",
        f"link add {inner} netns {nets.host} type veth peer name {outer} netns {nets.outside}",
    ]
    for name, link, addresses in (
        (nets.host, inner, (f"{HOST}/24", f"{HOST_IN_LAN}/24")),
        (nets.outside, outer, (f"{INTERNET}/24", f"{LAN}/24", f"{METADATA}/32", f"{SHARED}/32")),
    ):
        lines += [f"-n {name} addr add {one} dev {link}" for one in addresses]
        lines += [f"-n {name} link set {one} up" for one in ("lo", link)]
    lines.append(f"-n {nets.host} route add default via {INTERNET}")
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True, timeout=20)
    servers = [
        subprocess.Popen([*enter(name), sys.executable, "-m", "tests.support.two_networks", port])
        for name, port in ((nets.outside, "80"), (nets.host, str(HOST_PORT)))
    ]
    try:
        for server, port in zip(servers, (80, HOST_PORT), strict=True):
            _until_listens(nets.outside if port == 80 else nets.host, port, server)
        yield nets
    finally:
        for server in servers:
            server.kill()
            server.wait(10)
        for name in (nets.host, nets.outside):
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=20)


def _until_listens(name: str, port: int, server: subprocess.Popen[bytes]) -> None:
    look = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
    for _ in range(LOOKS_MAX):
        command = [*enter(name), sys.executable, "-c", look]
        if subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0:
            return
        assert server.poll() is None
        pause(0.1)
    raise AssertionError(f"nothing listens on {port} in {name}")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"reached")

    def log_message(self, *_: object) -> None:
        return None


def _name_server() -> None:
    """Answers every question for an IPv4 address with 203.0.113.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", 53))
        while True:
            asked, where = server.recvfrom(1024)
            head = asked[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
            question = asked[12 : asked.index(b"\0", 12) + 5]
            answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04"
            server.sendto(head + question + answer + socket.inet_aton(INTERNET), where)


if __name__ == "__main__":
    if sys.argv[1] == "80":
        threading.Thread(target=_name_server, daemon=True).start()
    ThreadingHTTPServer(("", int(sys.argv[1])), _Page).serve_forever()
