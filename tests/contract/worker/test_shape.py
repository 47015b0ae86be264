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
