"""The install command on a plain Debian 12: until it serves, again, and until nothing is left."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.debian_host import DebianHost
from tests.support.installation import Installation
from tests.support.wait import until

PLACES = ("/opt", "/etc", "/usr/local", "/var/lib/ganglion-agent", "/var/log", "/root", "/tmp")
HERE = "--yes --engine process --simulate-gpus 2"
SECONDS = 120


def join(product: Installation) -> dict[str, Any]:
    made: dict[str, Any] = product.ask("nodes", "join")
    return made


def command(made: dict[str, Any], options: str, *, change: str = "") -> str:
    """What the provider copies, with options; ``change`` is a sed script over the script."""
    fetch, start = made["commands"]["python3"].split(" | ")
    between = f" | sed '{change}'" if change else ""
    return f"{fetch}{between} | {start} -s -- {options}"


def own_nodes(product: Installation) -> list[dict[str, Any]]:
    return [node for node in product.ask("nodes", "list") if node["yours"]]


def answers(product: Installation, seconds_max: float = 30) -> bool:
    """Whether a request is answered; while a worker is on its way it waits for it."""
    try:
        answer = httpx.post(
            f"{product.ready['gateway_url']}/v1/chat/completions",
            headers={"authorization": f"Bearer {product.ready['api_key']}"},
            json={"model": "ganglion/stand-in", "messages": [{"role": "user", "content": "Hello"}]},
            timeout=seconds_max,
        )
    except httpx.TimeoutException:
        return False
    return answer.status_code == 200


def left_over(host: DebianHost) -> set[str]:
    """Files that are on the host and were not on the plain system."""
    upper = host.layer / "upper"
    listed = host.outside(f"find {upper} -type f -o -type l").splitlines()
    names = {line.removeprefix(str(upper)) for line in listed}
    return {name for name in names if "__pycache__" not in name} - {"/etc/resolv.conf"}


@pytest.mark.feature("C1")
@pytest.mark.feature("C2")
async def test_a_plain_debian_becomes_a_node_serves_and_is_left_clean(
    product: Installation, host: DebianHost
) -> None:
    assert left_over(host) == set()
    made = join(product)
    done = host.run(command(made, HERE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the brain hears it" in done.stdout
    node = own_nodes(product)[0]
    assert (node["state"], node["gpus_total"], node["agent_outdated"]) == ("online", 2, False)

    # It serves: the pool's replica is placed on it, and a chat request is answered by it.
    await until(lambda: answers(product), SECONDS, every=0.5)
    assert any("standins.worker" in line for line in host.processes())

    # The token is nowhere: not in a process, not in a file.
    assert made["token"] not in host.said("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true")
    assert host.run(f"grep -r -- '{made['token']}' {' '.join(PLACES)}").stdout == ""
    assert host.said("stat -c %a /var/lib/ganglion-agent/node.key").strip() == "600"

    # Again: nothing changes, and whoever works goes on.
    files, processes = host.files("/opt", "/etc", "/usr/local"), host.processes()
    again = host.run(command(made, "--yes"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing was changed" in again.stdout
    assert (host.files("/opt", "/etc", "/usr/local"), host.processes()) == (files, processes)
    assert own_nodes(product)[0]["node_id"] == node["node_id"]

    # Away: the work first, then the node, then the files.
    gone = host.run(command(made, "--yes --uninstall"))
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert host.processes() == []
    assert left_over(host) == set()
    assert own_nodes(product) == []
    assert host.run(command(made, "--yes --uninstall")).stdout.startswith("Nothing is installed")


@pytest.mark.feature("C1")
@pytest.mark.long
async def test_a_host_that_was_damaged_is_repaired_and_stays_the_same_node(
    product: Installation, host: DebianHost
) -> None:
    made = join(product)
    assert host.run(command(made, HERE)).returncode == 0
    node_id = own_nodes(product)[0]["node_id"]
    host.said(
        "ganglion-agent stop; rm -rf /opt/ganglion-agent/versions /usr/local/bin/ganglion-agent"
    )
    mended = host.run(command(made, "--yes"))
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert json.loads(host.said("ganglion-agent status"))["running"]
    assert [node["node_id"] for node in own_nodes(product)] == [node_id]
    rotated = json.loads(host.said("ganglion-agent --rotate"))
    assert (rotated["node_id"], len(rotated["public_key"])) == (node_id, 64)
    heard = "ganglion-agent status | grep -q '\"heard_seconds_ago\": [0-6],'"
    await until(lambda: host.run(heard).returncode == 0, SECONDS, every=0.5)
    assert host.run(command(made, "--yes --uninstall")).returncode == 0


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("s/^AGENT_SHA256=.*/AGENT_SHA256=" + "0" * 64 + "/", HERE, "SHA-256 differs"),
        ("s,^BRAIN_URL=.*,BRAIN_URL=http://127.0.0.1:9,", HERE, "do what stands after ->"),
        ("", "--yes --engine podman", "--engine is docker or process"),
        ("", "--sideways", "--sideways is not an option"),
        ("", "", "run it again with --yes"),
    ],
    ids=["tampered", "no brain", "engine", "option", "nobody to ask"],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    product: Installation, host: DebianHost, change: str, options: str, words: str
) -> None:
    done = host.run(command(join(product), options, change=change))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert left_over(host) <= {"/var/log/ganglion-agent-install.log"}
    assert host.processes() == []
    assert own_nodes(product) == []


def test_a_token_that_is_not_good_leaves_nothing(product: Installation, host: DebianHost) -> None:
    made = join(product)
    wrong = command(made, HERE).replace(made["token"], "gj_" + "x" * 43)
    done = host.run(wrong)
    assert done.returncode == 1
    assert "This join token is not known" in done.stderr
    assert left_over(host) <= {"/var/log/ganglion-agent-install.log"}
    fetch = command(made, HERE).split(" | ")[0]
    tokenless = host.run(f"{fetch} | sh -s -- {HERE}")
    assert "ganglion provider join" in tokenless.stderr


def test_half_a_script_does_nothing(product: Installation, host: DebianHost) -> None:
    fetch = command(join(product), HERE).split(" | ")[0]
    done = host.run(f"{fetch} | head -c 20000 | JOIN_TOKEN=gj_x sh -s -- {HERE}")
    assert done.stdout == ""
    assert left_over(host) == set()


@pytest.mark.feature("C1")
def test_the_checks_change_nothing_and_are_told_as_json(
    product: Installation, host: DebianHost
) -> None:
    done = host.run(command(join(product), "--check --json --engine process"))
    told = json.loads(done.stdout)
    found = {check["code"]: check for check in told["checks"]}
    assert {"OS", "ARCH", "KERNEL", "CGROUP", "INIT", "DISK", "BRAIN", "CLOCK"} <= set(found)
    assert (found["OS"]["severity"], found["OS"]["found"]) == ("ok", "debian 12")
    assert found["GPU"]["severity"] == "warn"
    assert (done.returncode, told["ok"]) == (0, True)
    assert left_over(host) == set()


def test_an_old_system_is_refused_with_what_to_do(product: Installation, host: DebianHost) -> None:
    host.said(
        "printf 'ID=debian\\nVERSION_ID=\"10\"\\n' > /etc/os-release.new"
        " && mv /etc/os-release.new /etc/os-release"
    )
    done = host.run(command(join(product), HERE))
    assert done.returncode == 1
    assert "use Debian 12, Ubuntu 22.04 or Ubuntu 24.04" in done.stdout
