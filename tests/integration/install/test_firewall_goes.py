"""Uninstalling takes the agent's firewall chain away, and no other rule of the host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain.marketplace import install
from brain.marketplace.agent_file import AgentFile
from kernel.clock import SystemClock
from node_agent.firewall import Firewall
from tests.support.node_net import NodeNet, node_net
from tests.support.two_networks import firewall_environment

pytestmark = pytest.mark.feature("C1")
OTHERS = "-A PREROUTING -i eth7 -j ACCEPT"  # a rule that is the host's own


@pytest.fixture
def net() -> Iterator[NodeNet]:
    with node_net() as found:
        yield found


def said(net: NodeNet, *command: str) -> str:
    """What a command says in the namespace."""
    done = subprocess.run(
        [*net.command, *command],
        env=firewall_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def uninstalls(net: NodeNet, folder: Path) -> str:
    """The step of the script that a provider runs, and what it says."""
    file = AgentFile(b"", "f" * 64, "1.2", ("cp311-x86_64",))
    script = install.render(file, brain_url="https://brain.example", installation_id="here")
    functions, _, _ = script.rpartition('main "$@"')
    part = folder / "part.sh"
    part.write_text(f"{functions}\nLOG={folder}/log\ndrop_firewall\n")
    return said(net, "sh", str(part))


def rules(net: NodeNet) -> list[str]:
    both = [said(net, tool, "-t", "mangle", "-S") for tool in ("iptables", "ip6tables")]
    return "".join(both).splitlines()


async def put_in(net: NodeNet) -> None:
    said(net, "iptables", "-t", "mangle", *OTHERS.split())
    agents = Firewall(SystemClock(), before=net.command, environment=firewall_environment())
    assert (await agents.check()).holds
    assert sum("-j GANGLION" in rule for rule in rules(net)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_the_chain_goes_and_the_hosts_own_rules_stay(net: NodeNet, tmp_path: Path) -> None:
    await put_in(net)
    assert uninstalls(net, tmp_path) == ""
    assert [rule for rule in rules(net) if "GANGLION" in rule] == []
    assert OTHERS in rules(net)
    assert uninstalls(net, tmp_path) == ""  # again: there is nothing to do


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_it_stays_while_a_tenants_network_is_there(net: NodeNet, tmp_path: Path) -> None:
    await put_in(net)
    said(net, "ip", "link", "add", "gan-tenant", "type", "bridge")
    assert "gan-tenant is still a tenant's network" in uninstalls(net, tmp_path)
    assert sum("-j GANGLION" in rule for rule in rules(net)) == 2
