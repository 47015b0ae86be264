"""No node can serve it: a machine is rented at an emulated RunPod, really boots our agent, serves
the official client, and is given back at the stop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support.installation import Installation, environment
from tests.support.shared import ROOT
from tests.support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]
KEY = "stand-in"
PASSWORD = "a long enough password"


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[str]:
    """The address of a RunPod stand-in whose machines really run."""
    command = [sys.executable, "-P", "-m", "cli.main", "stand-in", "runpod", "--port", "0"]
    with (tmp_path / "sky.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--key", KEY, "--home", str(tmp_path / "sky")],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    yield f"http://127.0.0.1:{ready['port']}"
    process.terminate()
    process.wait(15)


def standing(runpod: str) -> list[Any]:
    """The machines that the stand-in still bills, as itself tells it: its API has call limits."""
    found: list[Any] = httpx.get(f"{runpod}/stand-in/state").json()["machines"]
    return [machine for machine in found if machine["state"] not in ("terminating", "gone")]


@pytest.mark.feature("B1", "B7", "D3")
async def test_a_rented_machine_serves_and_is_given_back(
    runpod: str, fresh_installation: Installation
) -> None:
    product = fresh_installation
    clouds = {
        "USE_MOCK_PROVIDERS": "false",
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_API_BASE_URL": f"{runpod}/v2",
        "RUNPOD_GRAPHQL_URL": f"{runpod}/graphql",
    }
    ready = product.start("--no-node", extra=clouds)
    deployed = product.run("deploy", "ganglion/stand-in", "--name", "mine")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    client = openai.OpenAI(base_url=f"{ready['gateway_url']}/v1", api_key=ready["api_key"])
    said = client.chat.completions.create(
        model="mine", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    assert "stand-in" in str(said.choices[0].message.content)
    assert all(machine["tag"].startswith("gng-") for machine in standing(runpod))
    before = len(standing(runpod))
    assert product.run("stop", "mine").returncode == 0
    assert await until(lambda: len(standing(runpod)) == before - 1, seconds=30)
    _become_administrator(product)
    found: dict[str, Any] = {}

    def proved() -> bool:
        """The cloud's own word that it is gone is asked for more than once."""
        found.update(product.ask("clouds"))
        return "terminating" not in found["clouds"][0]["states"]

    await until(proved, seconds=120, every=2)
    assert product.run("clouds").returncode == 0
    assert found["clouds"][0]["account"] == "open"
    assert found["cost_nano_per_hour"] == sum(
        m["cost_nano_per_hour"] for m in found["clouds"][0]["machines"]
    )


def _become_administrator(product: Installation) -> None:
    email = "root@example.com"
    made = product.run("admin", "create", email, "--password-stdin", text=PASSWORD)
    assert made.returncode == 0, made.stderr
    known = product.run("login", "--email", email, "--password-stdin", text=PASSWORD)
    assert known.returncode == 0, known.stderr
