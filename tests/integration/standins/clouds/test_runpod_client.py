"""The vendor's own Python client, unmodified, against the RunPod stand-in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import StandInCloud, StartCloud

L4 = "NVIDIA L4"
SECONDS_MAX = 240  # on a machine that is busy with other tests

# Runs in the client's own environment. Each step's result is a JSON value of the last line.
BEGIN = """
import json, os, time, runpod
runpod.api_key = os.environ["RUNPOD_API_KEY"]
said = {}

def failed(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as wrong:
        return [type(wrong).__name__, str(wrong)]
    return "went well"

def until(look):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := look():
            return found
    raise SystemExit("it did not come")
"""

EVERY_CALL = """
said["gpus"] = runpod.get_gpus()
said["gpu"] = runpod.get_gpu("NVIDIA L4", 2)
said["no gpu"] = failed(runpod.get_gpu, "NVIDIA Quux")
pod = runpod.create_pod(
    "gng-t", "img", "NVIDIA L4", env={"A": "b"}, ports="22/tcp,8888/http", volume_in_gb=5,
    docker_args="sh -c 'echo up as $RUNPOD_POD_ID; exec sleep 600'", data_center_id="US-TX-3",
)
said["made"] = pod
until(lambda: runpod.get_pod(pod["id"])["runtime"])
said["up"] = runpod.get_pod(pod["id"])
said["pods"] = until(runpod.get_pods)
said["stopped"] = runpod.stop_pod(pod["id"])
said["resumed"] = runpod.resume_pod(pod["id"], 1)
said["cpu"] = runpod.create_pod("c", "img", instance_id="cpu3c-2-4")
said["user"] = runpod.get_user()
said["settings"] = runpod.update_user_settings("ssh-ed25519 AAA")
said["terminated"] = runpod.terminate_pod(pod["id"])
said["not there"] = failed(runpod.terminate_pod, "nothing")
job = runpod.Endpoint("ep").run({"prompt": "x"})
said["job"] = [job.status(), job.output()]
"""


def run_client(python: Path, cloud: StandInCloud, script: str) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(python.parent),
        "RUNPOD_API_KEY": cloud.key,
        "RUNPOD_API_BASE_URL": cloud.url,
        "RUNPOD_ENDPOINT_BASE_URL": f"{cloud.url}/v2",
    }
    done = subprocess.run(
        [python, "-c", BEGIN + script + "\nprint(json.dumps(said))"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.feature("B1")
def test_every_call_of_the_client_works(runpod_client: Path, stand_in_cloud: StartCloud) -> None:
    cloud = stand_in_cloud("runpod")
    said = run_client(runpod_client, cloud, EVERY_CALL)
    assert {"id": L4, "displayName": "L4", "memoryInGb": 24} in said["gpus"]
    assert said["gpu"]["lowestPrice"] == {"minimumBidPrice": 0.195, "uninterruptablePrice": 0.39}
    assert said["no gpu"][0] == "ValueError"
    assert (said["made"]["imageName"], said["made"]["env"]) == ("img", ["A=b"])
    up = said["up"]
    assert (up["name"], up["desiredStatus"], up["costPerHr"]) == ("gng-t", "RUNNING", 0.39)
    assert [port["privatePort"] for port in up["runtime"]["ports"]] == [22, 8888]
    assert [pod["id"] for pod in said["pods"]] == [up["id"]]
    assert said["stopped"]["desiredStatus"] == "EXITED"
    assert said["resumed"]["desiredStatus"] == "RUNNING"
    assert said["cpu"]["id"] != said["made"]["id"]
    assert said["user"]["networkVolumes"] == []
    assert said["settings"]["pubKey"] == "ssh-ed25519 AAA"
    assert said["not there"] == ["QueryError", "pod not found to terminate"]
    assert said["job"] == ["COMPLETED", {"stand_in": {"prompt": "x"}}]
    assert cloud.state()["calls"]["create"] == 2


@pytest.mark.feature("B1")
def test_the_client_sees_refusals_as_its_own_errors(
    runpod_client: Path, stand_in_cloud: StartCloud
) -> None:
    cloud = stand_in_cloud("runpod", "--faults", '{"fault": "no_capacity"}')
    said = run_client(
        runpod_client,
        cloud,
        """
said["full"] = failed(runpod.create_pod, "t", "img", "NVIDIA L4")
said["quoted"] = failed(runpod.create_pod, "t", "img", "NVIDIA L4", env={"A": 'say "hi"'})
runpod.api_key = "rpa_wrong"
said["key"] = failed(runpod.get_pods)
said["open"] = len(runpod.get_gpus())
""",
    )
    assert said["full"][0] == "QueryError"
    assert said["full"][1].startswith("There are no longer any instances available")
    assert said["quoted"][0] == "QueryError", "it quotes nothing, and the stand-in really parses"
    assert said["key"][0] == "AuthenticationError"
    assert said["open"] > 5
    assert cloud.state()["machines"] == []
