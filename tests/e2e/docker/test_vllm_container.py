"""Real vLLM as a container: deployed on an agent with a real Docker, asked, stopped, gone."""

from __future__ import annotations

import json
import time

import docker
import pytest
from openai import OpenAI

from tests.support.installation import Installation
from tests.support.vllm import need_vllm
from tests.support.vllm_image import vllm_image
from tests.support.wait import pause

NAME = "real-in-a-container"
READY_SECONDS_MAX = 400


@pytest.mark.long  # 60 s of CPU; the stand-in in its container: node_agent/test_docker_journey.py
@pytest.mark.real("vllm")
@pytest.mark.real("dockerd")
@pytest.mark.feature("D3", "C4")
def test_real_vllm_serves_from_its_container_and_is_gone_after_the_stop(
    product: Installation, engine_client: docker.APIClient
) -> None:
    need_vllm()
    vllm_image(engine_client)
    product.ask("deploy", "ganglion/tiny-random", "--name", NAME, "--no-wait")
    became_ready(product)
    [container] = product.containers(engine_client, "vllm-openai")
    facts = engine_client.inspect_container(container["Id"])
    assert facts["HostConfig"]["Memory"] == 6 << 30
    assert all(not mount["RW"] for mount in facts["Mounts"])
    key = json.loads((product.home / "credentials").read_text())["api_key"]
    client = OpenAI(base_url=f"{product.ready['gateway_url']}/v1", api_key=key, timeout=120)
    answer = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "hello"}], max_tokens=8
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    streamed = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "hi"}], max_tokens=8, stream=True
    )
    assert sum(bool(chunk.choices) for chunk in streamed) > 1
    assert product.ask("stop", NAME)["state"] == "stopped"
    assert product.containers(engine_client, "vllm-openai") == []
    assert any("vLLM" in line["text"] or "INFO" in line["text"] for line in told(product))


def became_ready(product: Installation) -> None:
    """It loads for 20 to 50 s on two free cores; its own words say why it does not."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        found = product.ask("deployments", "show", NAME)
        if found["state"] == "running":
            return
        if found["broken_reason"]:
            break
        pause(1)
    raise AssertionError(f"{found} {[line['text'] for line in told(product)][-60:]}")


def told(product: Installation) -> list[dict[str, str]]:
    lines: list[dict[str, str]] = product.ask("logs", NAME, "--tail", "1000")
    return lines
