"""An emulated cloud as a process: its machines really run, and none outlives it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from standins.clouds.boot import Processes
from standins.clouds.machine import Program
from standins.clouds.rules import Exit
from tests.support.cloud import KEY, StandInCloud, StartCloud
from tests.support.shared import ROOT
from tests.support.wait import until

# Says who it is, and leaves a child that fled from its parent and its session.
SCRIPT = """echo "pod $RUNPOD_POD_ID has $SIMULATE_GPUS GPUs for $WHO"
setsid sh -c 'echo $$ >> {pids}; exec sleep 300' &
until [ -s {pids} ]; do sleep 0.02; done
echo $$ >> {pids}
command -v python3
{then}"""
SECONDS_MAX = 60  # on a machine that is busy with other tests
POD = {
    "name": "gng-1",
    "image": "img",
    "env": {"WHO": "me"},
    "gpu": {"id": "NVIDIA L4", "count": 2},
}


def rest(cloud: StandInCloud, method: str, path: str, **how: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{cloud.url}/v2{path}"
    return httpx.request(method, url, headers=headers, timeout=SECONDS_MAX, **how)


def rent(cloud: StandInCloud, pids: Path, then: str = "wait") -> str:
    """A pod that runs, and wrote two process ids."""
    script = SCRIPT.format(pids=pids, then=then)
    body = {**POD, "env": {**POD["env"], "BOOT": script}, "args": """sh -c 'eval "$BOOT"'"""}
    made = rest(cloud, "POST", "/pods", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def alive(pids: Path) -> list[int]:
    """Those of the written processes that still run."""
    found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
    return [pid for pid in found if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def status(cloud: StandInCloud, pod: str) -> str:
    return str(rest(cloud, "GET", f"/pods/{pod}").json().get("status"))


async def ended(cloud: StandInCloud, pod: str) -> dict[str, Any]:
    """The only machine, once its program ended. Asked without the API, whose calls are limited."""

    def look() -> dict[str, Any] | None:
        (machine,) = cloud.state()["machines"]
        return None if machine["exit_code"] is None else machine

    machine = await until(look)
    assert status(cloud, pod) == "EXITED"
    return machine


async def test_a_machine_runs_its_script_until_it_is_terminated(
    stand_in_cloud: StartCloud, tmp_path: Path
) -> None:
    cloud, pids = stand_in_cloud("runpod", "--home", str(tmp_path / "disks")), tmp_path / "pids"
    pod = rent(cloud, pids)
    await until(lambda: len(alive(pids)) == 2)
    assert status(cloud, pod) == "RUNNING"
    await until(lambda: "python3" in rest(cloud, "GET", f"/pods/{pod}/logs").text, every=1)
    events = rest(cloud, "GET", f"/pods/{pod}/logs").text.split("\n\n")
    lines = [json.loads(event.split("data: ")[1])["line"] for event in events if event]
    assert lines[0] == f"pod {pod} has 2 GPUs for me"
    assert Path(lines[1]).parent == Path(sys.executable).parent
    rest(cloud, "DELETE", f"/pods/{pod}")
    await until(lambda: alive(pids) == [])
    await until(lambda: {one["state"] for one in cloud.state()["machines"]} <= {"gone"})
    assert rest(cloud, "GET", f"/pods/{pod}").status_code == 404
    assert list((tmp_path / "disks").iterdir()) == [], "its disk is gone with it"


async def test_a_program_that_ends_stops_its_pod_and_can_be_started_again(
    stand_in_cloud: StartCloud, tmp_path: Path
) -> None:
    cloud, pids = stand_in_cloud("runpod"), tmp_path / "pids"
    pod = rent(cloud, pids, "exit 3")
    machine = await ended(cloud, pod)
    assert (machine["exit_code"], machine["why"]) == (3, "its program ended with 3")
    await until(lambda: alive(pids) == [], why="what it left behind ended with it")
    assert rest(cloud, "POST", f"/pods/{pod}/action", json={"action": "start"}).status_code == 200
    await until(lambda: len(pids.read_text().split()) > 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_machine_outlives_the_cloud(
    stand_in_cloud: StartCloud, tmp_path: Path, number: signal.Signals
) -> None:
    cloud, pids = stand_in_cloud("runpod"), tmp_path / "pids"
    rent(cloud, pids)
    await until(lambda: len(alive(pids)) == 2)
    os.kill(cloud.process.pid, number)
    assert cloud.process.wait(SECONDS_MAX) == (-number if number == signal.SIGKILL else 0)
    await until(lambda: alive(pids) == [])


async def test_faults_reach_the_wire(stand_in_cloud: StartCloud) -> None:
    cloud = stand_in_cloud("runpod")
    cloud.fail(fault="cut")
    with pytest.raises(httpx.RemoteProtocolError):
        rest(cloud, "GET", "/pods")
    cloud.fail(fault="half")
    with pytest.raises(httpx.RemoteProtocolError):
        rest(cloud, "GET", "/catalog/gpus")
    cloud.fail(fault="silent", seconds=0.3)
    with pytest.raises(httpx.RemoteProtocolError):
        rest(cloud, "GET", "/pods")
    cloud.fail(fault="huge", bytes=10_000_000)
    assert len(rest(cloud, "GET", "/pods").content) > 10_000_000
    assert rest(cloud, "GET", "/pods").headers["server"] == "ganglion-stand-in"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "cli.main", "stand-in", *arguments]
    return subprocess.run(
        whole, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 1, "runpod"),
        (("vastly", "--port", "0"), 1, "Name a stand-in"),
        (("runpod",), 2, "--port"),
        (("runpod", "--port", "0", "--faults", "{}"), 2, "--faults"),
        (("runpod", "--port", "0", "--stock", "/nowhere.json"), 2, "--stock"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = command(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True)


def test_a_taken_port_is_said(stand_in_cloud: StartCloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("runpod", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "cannot listen" in json.loads(done.stdout)["reason"]


async def test_a_stock_of_ones_own_is_rented_out(
    stand_in_cloud: StartCloud, tmp_path: Path
) -> None:
    own = {"key": "a", "gpu_name": "NVIDIA Own", "capacity": 1, "price_nano": 10**9}
    (tmp_path / "stock.json").write_text(json.dumps([own]))
    cloud = stand_in_cloud("runpod", "--stock", str(tmp_path / "stock.json"))
    gpus = rest(cloud, "GET", "/catalog/gpus").json()["gpus"]
    assert [(gpu["id"], gpu["price"]["secure"]) for gpu in gpus] == [("NVIDIA Own", 1.0)]


@pytest.mark.parametrize(("arguments", "code"), [("no-such-command", 127), ("sh -c 'a\x00b'", 126)])
async def test_a_program_that_cannot_be_started_stops_its_pod(
    stand_in_cloud: StartCloud, arguments: str, code: int
) -> None:
    cloud = stand_in_cloud("runpod")
    pod = rest(cloud, "POST", "/pods", json={**POD, "args": arguments}).json()["id"]
    assert (await ended(cloud, pod))["exit_code"] == code


async def test_a_virtual_machine_outlives_its_script_and_can_turn_itself_off(
    tmp_path: Path,
) -> None:
    launcher = Processes(tmp_path, {})
    script = f"(sleep 0.2; touch {tmp_path}/quiet; until [ -e {tmp_path}/off ]; do sleep 0.02; done"
    script += "; sleep 300 & shutdown -h now) &"
    try:
        launcher.start("vm", Program(("sh", "-c", script), ends_machine=False), gpus=0)
        await until((tmp_path / "quiet").exists)
        assert launcher.exits() == []
        (tmp_path / "off").touch()
        await until(lambda: launcher.exits() == [Exit("vm", 0)])
    finally:
        launcher.close()


@pytest.mark.parametrize("switch", ["shutdown", "poweroff", "halt", "reboot"])
async def test_a_switch_is_the_machines_own(tmp_path: Path, switch: str) -> None:
    launcher = Processes(tmp_path, {})
    try:
        found = f"command -v {switch}"
        launcher.start("vm", Program(("sh", "-c", f"{found}; {found} >&2; sleep 9")), gpus=0)
        await until(lambda: len(launcher.output("vm", 10)) == 2)
        assert set(launcher.output("vm", 10)) == {str(tmp_path / "vm" / ".switches" / switch)}
    finally:
        launcher.close()
