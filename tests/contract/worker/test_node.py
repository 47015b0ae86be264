"""What any worker does for the official OpenAI client for Node, unmodified."""

from __future__ import annotations

import pytest

from tests.support.standin import StandIn
from tests.support.workers import Worker
from tests.support.workers_node import NodeWalk

TOOL = {"name": "pick_unit", "arguments": {"unit": "kelvin"}}
CHAT = ("chat", "chat_stream", "chat_tool", "chat_tool_stream", "chat_helper", "chat_left")
TEXT = ("completion", "completion_stream", "responses", "responses_stream")
ERRORS = {
    "unknown_model": ("NotFoundError", 404),
    "bad_value": ("BadRequestError", 400),
    "bad_stream": ("BadRequestError", 400),
    "no_route": ("NotFoundError", 404),
}


@pytest.mark.feature("A1", "A2")
def test_text_in_every_form(worker: Worker, node_walk: NodeWalk) -> None:
    told = node_walk(f"{worker.url}/v1", "none", worker.model, "models", *CHAT, *TEXT)
    assert not [step for step, facts in told.items() if "error" in facts], told
    assert told["models"]["ids"] == [worker.model]
    assert told["chat"]["tokens"] > 0
    assert told["chat_stream"]["role"] == "assistant"
    assert len(told["chat_stream"]["finish"]) == 1
    assert told["chat_tool"] == told["chat_tool_stream"] == TOOL
    assert told["completion"]["tokens"] <= 9
    assert told["responses_stream"]["last"] == "response.completed"
    assert told["responses_stream"]["numbers"]


@pytest.mark.feature("A3")
def test_embeddings(embedding_worker: Worker, node_walk: NodeWalk) -> None:
    told = node_walk(f"{embedding_worker.url}/v1", "none", embedding_worker.model, "embeddings")
    assert told["embeddings"]["rows"] == 2
    assert told["embeddings"]["same"]


@pytest.mark.feature("A9")
def test_errors_are_the_clients_own_classes(worker: Worker, node_walk: NodeWalk) -> None:
    told = node_walk(f"{worker.url}/v1", "none", worker.model, *ERRORS)
    seen = {step: (facts["error"], facts["status"]) for step, facts in told.items()}
    assert seen == ERRORS


def test_streamed_text_is_the_plain_one(quick_stand_in: StandIn, node_walk: NodeWalk) -> None:
    steps = ("chat", "chat_stream", "chat_helper", "responses", "responses_stream")
    told = node_walk(f"{quick_stand_in.url}/v1", "none", quick_stand_in.model, *steps)
    assert told["chat"]["text"] == told["chat_stream"]["text"] == told["chat_helper"]["text"]
    assert told["responses"]["text"] == told["responses_stream"]["text"]


def test_sounds_and_pictures(quick_stand_in: StandIn, node_walk: NodeWalk) -> None:
    told = node_walk(
        f"{quick_stand_in.url}/v1", "none", quick_stand_in.model, "transcription", "speech", "image"
    )
    assert "1.0 seconds" in told["transcription"]["text"]
    assert told["speech"]["begin"] == "RIFF"
    assert told["image"]["begin"] == "PNG"
