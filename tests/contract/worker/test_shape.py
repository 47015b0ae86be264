"""Every answer has the shape that real vLLM's has, key by key (golden.json was recorded there)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.worker import shapes
from tests.support.workers import Worker

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.parametrize("name", sorted(shapes.ASKED))
def test_a_plain_answer_or_error_has_the_recorded_shape(worker: Worker, name: str) -> None:
    assert shapes.answer_shape(worker.url, worker.model, name) == GOLDEN["plain"][name]


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("name", sorted(shapes.STREAMED))
def test_a_stream_has_the_recorded_shape(worker: Worker, name: str, usage: bool) -> None:
    recorded = GOLDEN["streams"][f"{name}{'_usage' if usage else ''}"]
    assert shapes.stream_shape(worker.url, worker.model, name, usage=usage) == recorded


def test_the_list_of_models_has_the_recorded_shape(worker: Worker) -> None:
    assert shapes.models_shape(worker.url) == GOLDEN["models"]


@pytest.mark.parametrize("name", sorted(shapes.EVENTS))
def test_named_events_have_the_recorded_shapes_and_order(worker: Worker, name: str) -> None:
    assert shapes.event_shapes(worker.url, worker.model, name) == GOLDEN["events"][name]


def test_what_is_not_stored_is_refused_as_recorded(worker: Worker) -> None:
    assert shapes.stored_shapes(worker.url) == GOLDEN["stored"]


@pytest.mark.parametrize("name", sorted(shapes.POOLED))
def test_embeddings_and_scores_have_the_recorded_shapes(
    embedding_worker: Worker, name: str
) -> None:
    shown = shapes.answer_shape(embedding_worker.url, embedding_worker.model, name)
    assert shown == GOLDEN["pooled"][name]


@pytest.mark.parametrize("name", sorted(shapes.HEARD))
def test_what_is_heard_has_the_recorded_shape(hearing_worker: Worker, name: str) -> None:
    shown = shapes.heard_shape(hearing_worker.url, hearing_worker.model, name)
    assert shown == GOLDEN["heard"][name]


@pytest.mark.parametrize("path", [shapes.HEAR, shapes.TRANSLATE])
def test_what_is_heard_streams_in_the_recorded_shape(hearing_worker: Worker, path: str) -> None:
    shown = shapes.heard_stream_shape(hearing_worker.url, hearing_worker.model, path)
    assert shown == GOLDEN["heard_streams"][path]
