"""A machine behind a router that lets nothing in: a network namespace with a way out alone.

Its processes reach this machine at ``outside``; no new connection gets in to them, whatever
listens there. Needs root, ``ip`` and iptables (from .parts); skips with the reason otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tools import debian_parts
from tools.part import CannotHave

COMMAND_SECONDS_MAX = 30
INNER = f"gngi{os.getpid()}"  # the cable's end in the namespace
_DEAF = ("INPUT", "-i", INNER, "-j", "DROP")  # not what comes from containers there
_MUTE = ("OUTPUT", "-o", INNER, "-j", "DROP")


@dataclass(frozen=True)
class NodeNet:
    """``command`` runs inside; ``address`` is the machine's own, which answers to nobody new."""

    name: str
    outside: str
    address: str

    @property
    def command(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Take the cable out; nobody is told."""
        _run("ip", "link", "set", _outer(), "down")

    def deafen(self) -> None:
        """What is sent gets out; what comes is lost."""
        _run(*self.command, _needs(), "iptables", "-I", *_DEAF)

    def mute(self) -> None:
        """What comes gets in; what is sent is lost."""
        _run(*self.command, _needs(), "iptables", "-I", *_MUTE)

    def mend(self) -> None:
        _run("ip", "link", "set", _outer(), "up")
        for rule in (_DEAF, _MUTE):
            lost = subprocess.run(
                [*self.command, _needs(), "iptables", "-D", *rule],
                env=_environment(),
                capture_output=True,
                check=False,
            )
            assert lost.returncode in (0, 1), lost.stderr  # 1: it was not there


@contextmanager
def node_net() -> Iterator[NodeNet]:
    """One for a test, gone with it."""
    iptables = _needs()
    block = f"10.213.{os.getpid() % 254 + 1}"
    net = NodeNet(f"gng-net-{os.getpid()}", f"{block}.1", f"{block}.2")
    _run("ip", "netns", "add", net.name)
    try:
        _run("ip", "link", "add", _outer(), "type", "veth", "peer", "name", INNER)
        _run("ip", "link", "set", INNER, "netns", net.name)
        _run("ip", "addr", "add", f"{net.outside}/30", "dev", _outer())
        _run("ip", "link", "set", _outer(), "up")
        _run(*net.command, "ip", "addr", "add", f"{net.address}/30", "dev", INNER)
        for link in ("lo", INNER):
            _run(*net.command, "ip", "link", "set", link, "up")
        for rule in (
            ("-A", "INPUT", "-i", "lo", "-j", "ACCEPT"),
            ("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"),
            ("-P", "INPUT", "DROP"),
        ):
            _run(*net.command, iptables, "iptables", *rule)
        yield net
    finally:
        subprocess.run(["ip", "link", "del", _outer()], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", net.name], capture_output=True, check=False)


def _needs() -> str:
    """The program that sets the rules, with what it needs beside it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip")
    try:
        part = debian_parts.debian(list(debian_parts.IPTABLES), debian_parts.DEBIAN / "iptables")
    except CannotHave as missing:
        pytest.skip(f"no iptables: {missing}")
    return str(part / "usr" / "sbin" / "xtables-nft-multi")


def _outer() -> str:
    return f"gngo{os.getpid()}"


def _environment() -> dict[str, str]:
    part = debian_parts.DEBIAN / "iptables"
    libraries = [*part.glob("usr/lib/*-linux-gnu")]
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "XTABLES_LIBDIR": ":".join(str(library / "xtables") for library in libraries),
    }


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"`{' '.join(command)}` is not possible here: {done.stderr.strip()[:300]}")
