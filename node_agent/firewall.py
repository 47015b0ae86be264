"""What tenants' containers may not reach: this host, its network, its cloud's metadata.

One chain of the host's own firewall, entered only by packets from tenants' bridges (by the prefix
of their names), before they are routed. It is put in at the start, looked at again and again, and
put back when something flushed it. Docker's own rules are not touched.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from kernel.clock import Clock
from kernel.wire.agent import Beat, BeatAnswer
from node_agent.engine import Hold

log = structlog.get_logger(__name__)
PREFIX = "gan-"  # of the bridges of tenants on this host
CHAIN = "GANGLION"
NAME = "metadata_and_lan_blocked"
CHECK_SECONDS = 30.0
TOOL_SECONDS_MAX = 20
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
RESOLVERS_MAX = 8
# Private, shared, link-local (metadata), loopback, multicast, reserved: what is not the internet.
BLOCKED = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_ENTRY = ["PREROUTING", "-i", f"{PREFIX}+", "-j", CHAIN]
_RESOLV = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def rules(resolvers: Sequence[str]) -> str:
    """The chain for IPv4 as ``iptables-restore`` takes it. A private name server of the host may
    be asked for names, and for nothing else."""
    names = [
        f"-A {CHAIN} -d {server}/32 -p {kind} -m {kind} --dport 53 -j RETURN"
        for server in resolvers
        for kind in ("udp", "tcp")
    ]
    lines = [
        "*mangle",
        f":{CHAIN} - [0:0]",
        f"-A {CHAIN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        *names,
        f"-A {CHAIN} -m addrtype --dst-type LOCAL -j DROP",
        *(f"-A {CHAIN} -d {network} -j DROP" for network in BLOCKED),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def rules_v6() -> str:
    """Tenants' networks have no IPv6: what still comes with it is dropped whole."""
    return f"*mangle\n:{CHAIN} - [0:0]\n-A {CHAIN} -j DROP\nCOMMIT\n"


def private_resolvers(texts: Sequence[str]) -> list[str]:
    """The name servers of ``resolv.conf`` files that are blocked addresses, this host's own left
    out (Docker asks those for the container)."""
    found: list[str] = []
    for line in "\n".join(texts).splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.IPv4Address(words[1])
        except ValueError:
            continue
        inside = any(address in ipaddress.IPv4Network(network) for network in BLOCKED)
        if inside and not address.is_loopback and str(address) not in found:
            found.append(str(address))
    return found[:RESOLVERS_MAX]


class FirewallTrouble(Exception):
    """The host's firewall cannot be set; the words say why."""


@dataclass(frozen=True)
class _Family:
    """iptables or ip6tables, and what its chain must say."""

    tool: str
    content: str


class Firewall:
    """An ``Extra`` that keeps the chain in place. ``before`` goes before each command, such as one
    that enters another network namespace."""

    def __init__(
        self, clock: Clock, *, before: Sequence[str] = (), environment: dict[str, str] | None = None
    ) -> None:
        self._clock = clock
        self._before = list(before)
        self._environment = environment or {"PATH": SYSTEM_PATH, "LC_ALL": "C"}
        self._good: dict[str, str] = {}
        self._hold = Hold(NAME, False, "It was not looked at yet.")

    def tell(self, beat: Beat) -> None:
        return None

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        return None

    async def run(self) -> None:
        while True:
            await self.check()
            await self._clock.sleep(CHECK_SECONDS)

    async def check(self) -> Hold:
        """Put in what is missing; never raises."""
        before = self._hold
        try:
            repaired = await asyncio.to_thread(self._keep)
        except FirewallTrouble as trouble:
            self._hold = Hold(NAME, False, str(trouble))
        else:
            self._hold = Hold(NAME, True, "Rules of the host's firewall, looked at every 30 s.")
            if repaired and before.holds:
                log.warning("firewall_repaired", chain=CHAIN)
        if self._hold.holds is not before.holds:
            log.info("firewall", holds=self._hold.holds, detail=self._hold.detail)
        return self._hold

    def _keep(self) -> bool:
        """True when something was put in."""
        if os.geteuid() != 0:
            raise FirewallTrouble("The agent is not root, so it cannot set the host's firewall.")
        texts = [path.read_text(errors="replace") for path in _RESOLV if path.is_file()]
        repaired = False
        for family in (
            _Family("iptables", rules(private_resolvers(texts))),
            _Family("ip6tables", rules_v6()),
        ):
            repaired = self._kept(family) or repaired
        return repaired

    def _kept(self, family: _Family) -> bool:
        here = shutil.which(family.tool, path=self._environment["PATH"])
        if here is None:
            raise FirewallTrouble(f"{family.tool} is not installed: install iptables.")
        shown = self._shown(family)
        intact = shown is not None and shown == self._good.get(family.tool + family.content)
        if not intact:
            self._run(f"{family.tool}-restore", "-w", "5", "--noflush", content=family.content)
            self._good = {**self._good, family.tool + family.content: self._shown(family) or ""}
        table = [family.tool, "-w", "5", "-t", "mangle"]
        entered = self._run(*table, "-C", *_ENTRY, fine=(0, 1)) is not None
        if not entered:
            self._run(*table, "-I", _ENTRY[0], "1", *_ENTRY[1:])
        return not (intact and entered)

    def _shown(self, family: _Family) -> str | None:
        return self._run(family.tool, "-w", "5", "-t", "mangle", "-S", CHAIN, fine=(0, 1))

    def _run(self, *command: str, content: str = "", fine: tuple[int, ...] = (0,)) -> str | None:
        """What it printed, or None when it ended with a code that is fine and not 0."""
        try:
            done = subprocess.run(
                [*self._before, *command],
                env=self._environment,
                input=content,
                capture_output=True,
                text=True,
                timeout=TOOL_SECONDS_MAX,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FirewallTrouble(f"{command[0]} cannot be run: {error}") from None
        if done.returncode not in fine:
            said = " ".join(done.stderr.split())[:300]
            raise FirewallTrouble(f"{command[0]} failed: {said}")
        return done.stdout if done.returncode == 0 else None
