"""Two gateways on one brain: both reach the node's worker over links; one dies, one comes anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.installation import Installation
from tests.support.wait import until

pytestmark = pytest.mark.slow
NAME = "by-three-gateways"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def joined() -> Iterator[list[Gateway]]:
    """Further gateways of the installation, ended with the test."""
    started: list[Gateway] = []
    yield started
    for one in started:
        one.kill()


def join(product: Installation, brain_url: str, folder: Path) -> Gateway:
    secrets = json.loads((product.home / "secrets.json").read_text())
    token = secrets["GATEWAY_TOKEN"]
    return gateways.launch(
        folder, brain_url=brain_url, gateway_token=token, gateway_name=folder.name
    )


def said(url: str, api_key: str) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0, timeout=30)
    answer = client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=8)
    return str(answer.choices[0].message.content)


@pytest.mark.feature("C2", "A15")
async def test_every_gateway_of_the_brain_serves_a_worker(
    installation: Installation, joined: list[Gateway], tmp_path: Path
) -> None:
    product, ready = installation, installation.ready
    deployed = product.run("deploy", "ganglion/stand-in", "--name", NAME)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    joined.append(join(product, ready["brain_url"], tmp_path / "second"))
    second = joined[0]
    await until(lambda: second.metric("ganglion_gateway_links_idle") >= 4, 60)
    assert "stand-in" in said(second.url, ready["api_key"])
    assert "stand-in" in said(ready["gateway_url"], ready["api_key"])
    second.kill()
    assert "stand-in" in said(ready["gateway_url"], ready["api_key"])
    joined.append(join(product, ready["brain_url"], tmp_path / "third"))
    third = joined[1]
    await until(lambda: third.metric("ganglion_gateway_links_idle") >= 4, 60)
    assert "stand-in" in said(third.url, ready["api_key"])
    third.stop()
    product.ask("stop", NAME)
