"""No node can serve it: a machine is rented at an emulated RunPod, really boots our agent, serves
the official client, and is given back at the stop."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import openai
import pytest

from cli.supervisor.environment import ADMIN_EMAIL
from cli.supervisor.home import Home
from tests.support.installation import Installation, command
from tests.support.wait import until


def standing(runpod: str) -> list[Any]:
    """The machines that the stand-in still bills, as itself tells it: its API has call limits."""
    found: list[Any] = httpx.get(f"{runpod}/stand-in/state", timeout=30).json()["machines"]
    return [machine for machine in found if machine["state"] not in ("terminating", "gone")]


@pytest.mark.feature("B1", "B7", "D3")
async def test_a_rented_machine_serves_and_is_given_back(
    runpod: str, product: Installation
) -> None:
    ready = product.ready
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
    assert await until(lambda: len(standing(runpod)) == before - 1, seconds=120)
    found: dict[str, Any] = {}

    def proved() -> bool:
        """The cloud's own word that it is gone is asked for more than once."""
        found.update(json.loads(as_admin(product, "clouds", "--json").stdout))
        return "terminating" not in found["clouds"][0]["states"]

    await until(proved, seconds=120, every=2)
    assert as_admin(product, "clouds").returncode == 0
    assert found["clouds"][0]["account"] == "open"
    assert found["cost_nano_per_hour"] == sum(
        m["cost_nano_per_hour"] for m in found["clouds"][0]["machines"]
    )


def as_admin(product: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With a home of its own: the product's is the demo account's."""
    home, extra = product.home.parent / "admin", {"BRAIN_URL": product.ready["brain_url"]}
    if not home.exists():
        home.mkdir()
        text = Home(product.home).secrets()["ADMIN_PASSWORD"] + "\n"
        command(home, "login", "--email", ADMIN_EMAIL, "--password-stdin", text=text, extra=extra)
    return command(home, *arguments, extra=extra)
