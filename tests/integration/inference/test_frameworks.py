"""Frameworks over the OpenAI API, unmodified, through the gateway to a stand-in worker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import KEY, Gateway, launch, snapshot
from tests.support.standin import MODEL, StandIn

WALKS = Path(__file__).parents[2] / "support" / "frameworks"
SECONDS_MAX = 120


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """KEY's account has the deployment ``m``."""
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    started = launch(tmp_path_factory.mktemp("gateway"), snapshot(port, upstream_model=MODEL))
    yield started
    started.kill()


def walk(python: Path, name: str, gateway: Gateway) -> dict[str, Any]:
    command = [str(python), str(WALKS / name), f"{gateway.url}/v1", KEY, "m"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.feature("A16", "A1")
def test_openais_agents_run_by_responses_and_by_chat(gateway: Gateway, agents_client: Path) -> None:
    told = walk(agents_client, "agents_walk.py", gateway)
    assert told["refused"] == "NotFoundError"
    for model in ("responses", "chat"):
        assert told[model]["text"]
        assert told[model]["tokens"] > 0
        assert told[model]["stream"]["whole"]
        assert told[model]["stream"]["deltas"] > 1
        assert told[model]["call"] == {"tool": ["the unit is kelvin"], "said": True}


@pytest.mark.feature("A1", "A3")
def test_langchain_chats_streams_calls_tools_and_embeds(
    gateway: Gateway, langchain_client: Path
) -> None:
    told = walk(langchain_client, "langchain_walk.py", gateway)
    assert told["text"]
    assert told["responses"]
    assert told["stream"]["same"]
    assert told["stream"]["tokens"] == told["tokens"] > 0
    assert (told["call"], told["embeddings"], told["batch"]) == (["pick_unit"], 2, 3)
    assert (told["refused"], told["wrong_key"]) == (
        "OpenAIModelNotFoundError",
        "OpenAIAuthenticationError",
    )
