"""The official OpenAI client for Node, unmodified, through the gateway to a stand-in worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import KEY, Gateway, launch, snapshot
from tests.support.standin import MODEL, StandIn
from tests.support.wait import until
from tests.support.workers_node import NodeWalk

ERRORS = {
    "wrong_key": ("AuthenticationError", 401),
    "unknown_model": ("NotFoundError", 404),
    "bad_value": ("BadRequestError", 400),
    "bad_stream": ("BadRequestError", 400),
    "no_route": ("NotFoundError", 404),
}
TOOL = {"name": "pick_unit", "arguments": {"unit": "kelvin"}}


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """KEY's account has the deployment ``m``."""
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    started = launch(tmp_path_factory.mktemp("gateway"), snapshot(port, upstream_model=MODEL))
    yield started
    started.kill()


@pytest.mark.feature("A1")
def test_chat_plain_streamed_and_with_tools(gateway: Gateway, node_walk: NodeWalk) -> None:
    steps = ("chat", "chat_stream", "chat_helper", "chat_tool", "chat_tool_stream")
    told = node_walk(f"{gateway.url}/v1", KEY, "m", *steps)
    assert told["chat"]["text"] == told["chat_stream"]["text"] == told["chat_helper"]["text"]
    assert told["chat"]["request_id"].startswith("req_")
    assert told["chat"]["tokens"] == told["chat_stream"]["tokens"] > 0
    assert told["chat_stream"]["finish"] == ["stop"]
    assert told["chat_tool"] == told["chat_tool_stream"] == TOOL


@pytest.mark.feature("A1")
async def test_leaving_a_stream_stops_the_work(
    gateway: Gateway, quick_stand_in: StandIn, node_walk: NodeWalk
) -> None:
    quick_stand_in.fail(fault="stall", after_bytes=2000)
    told = node_walk(f"{gateway.url}/v1", KEY, "m", "chat_left")
    assert told["chat_left"] == {"left": True}
    await until(lambda: quick_stand_in.state()["requests_aborted"] == 1)


@pytest.mark.feature("A2", "A3", "A7")
def test_completions_embeddings_and_models(gateway: Gateway, node_walk: NodeWalk) -> None:
    steps = ("completion", "completion_stream", "embeddings", "models")
    told = node_walk(f"{gateway.url}/v1", KEY, "m", *steps)
    assert told["completion"]["text"] == told["completion_stream"]["text"]
    assert told["embeddings"]["rows"] == 2
    assert told["embeddings"]["same"]
    assert told["models"]["ids"] == ["m"]


@pytest.mark.feature("A9")
def test_failures_are_the_clients_own_classes(gateway: Gateway, node_walk: NodeWalk) -> None:
    told = node_walk(f"{gateway.url}/v1", KEY, "m", *ERRORS)
    seen = {step: (facts["error"], facts["status"]) for step, facts in told.items()}
    assert seen == ERRORS
    assert told["wrong_key"]["code"] == "invalid_api_key"
    assert told["unknown_model"]["code"] == "model_not_found"
    assert all(facts["request_id"].startswith("req_") for facts in told.values())
