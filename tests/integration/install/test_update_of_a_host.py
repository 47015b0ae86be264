"""A brain gets a new agent: a host that runs the old one follows, and its work goes on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain.marketplace.agent_file import AgentFile, agent_file, installed_wheels, stored
from tests.integration.install.test_install import HERE, SECONDS, answers, command, join, own_nodes
from tests.support.debian_host import DebianHost
from tests.support.installation import Installation
from tests.support.wait import free_port, until

CUT_SECONDS = 15
AT_ONCE = {"USE_MOCK_PROVIDERS": "false", "AGENT_UPDATE_PERCENT_PER_HOUR": "1e12"}


def newer(folder: Path) -> AgentFile:
    """Another file that does the same: one of its wheels was built anew."""
    for name, content in installed_wheels().items():
        (folder / name).write_bytes(content)
    wheel = next(folder.glob("tenacity-*.whl"))
    wheel.write_bytes(stored({"tenacity/newer.py": b"", **_files(wheel)}))
    return agent_file(str(folder))


def _files(wheel: Path) -> dict[str, bytes]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def product(prepared_data: Path) -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home", data=prepared_data)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.stop()
    shutil.rmtree(folder, ignore_errors=True)


def workers(host: DebianHost) -> set[str]:
    """Pid and start of every worker on the host."""
    listed = host.said(
        "for p in /proc/[0-9]*; do grep -qs '[s]tandins.worker' $p/cmdline"
        " && cut -d' ' -f1,22 $p/stat; done; true"
    )
    return set(listed.splitlines())


@pytest.mark.feature("C2")
@pytest.mark.feature("C8")
async def test_a_host_follows_its_brain_to_a_new_agent_and_serves_on(
    product: Installation, host: DebianHost, tmp_path: Path
) -> None:
    ports = ("--brain-port", str(free_port()), "--gateway-port", str(free_port()), "--no-node")
    product.start(*ports, extra=AT_ONCE)
    assert host.run(command(join(product), HERE)).returncode == 0
    await until(lambda: answers(product), SECONDS, every=0.5)
    before = own_nodes(product)[0]["agent_version"]
    serving = workers(host)
    assert serving

    product.stop()
    made = newer(tmp_path)
    ready = product.start(*ports, extra={**AT_ONCE, "AGENT_WHEELS_DIR": str(tmp_path)})
    assert "brain_url" in ready, ready

    def follows() -> bool:
        node = own_nodes(product)[0]
        return bool(node["agent_version"] == made.full_version and node["state"] == "online")

    await until(follows, SECONDS * 2, every=0.5)
    assert before != made.full_version
    assert own_nodes(product)[0]["agent_outdated"] is False
    assert workers(host) == serving
    await until(lambda: answers(product), SECONDS, every=0.5)
    assert '"bad_versions": {}' in host.said("ganglion-agent status")

    # Revoked: its key and its links are worth nothing at once, though its work still runs.
    product.ask("nodes", "revoke", own_nodes(product)[0]["node_id"])
    await until(lambda: not answers(product, 2), CUT_SECONDS, every=0.2)
    assert workers(host) == serving
    refused = "grep -q node_revoked /var/log/ganglion-agent.log"
    await until(lambda: host.run(refused).returncode == 0, SECONDS, every=0.5)
