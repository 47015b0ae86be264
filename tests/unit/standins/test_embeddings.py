"""Embeddings of the stand-in: unit vectors, steady, near for texts that share words."""

from __future__ import annotations

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standins.worker import embeddings
from standins.worker.jobs import Limits
from standins.worker.refusals import Refusal

LIMITS = Limits("m", 512)


def answer(**body: object) -> list[object]:
    rows = embeddings.answer(body, LIMITS, identity="1", created=0)["data"]
    return [row["embedding"] for row in rows]


@given(st.text(max_size=60), st.integers(2, 64))
def test_a_vector_has_length_one(text: str, dimensions: int) -> None:
    vector = embeddings.unit_vector(text, dimensions)
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1)


def test_shared_words_bring_texts_near() -> None:
    one, two, far = (
        embeddings.unit_vector(text, 256)
        for text in ("the node runs", "the node stops", "blue cheese melts")
    )
    assert math.dist(one, two) < math.dist(one, far)


def test_base64_holds_the_same_floats() -> None:
    (floats,) = answer(input="x", dimensions=8)
    (packed,) = answer(input="x", dimensions=8, encoding_format="base64")
    assert isinstance(packed, str)
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(floats)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": [1.5]},
        {"input": "x", "dimensions": 0},
        {"input": "x", "encoding_format": "int8"},
        {"input": "word " * 600},
    ],
)
def test_bad_input_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(Refusal):
        answer(**body)


def test_token_ids_and_lists_are_inputs() -> None:
    assert len(answer(input=[1, 2, 3], dimensions=4)) == 1
    assert len(answer(input=[[1, 2], "two"], dimensions=4)) == 2
