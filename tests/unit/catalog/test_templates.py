"""Every template file: it loads, its figures are its architecture's, it can be launched."""

from __future__ import annotations

import pytest

from catalog import Engine, Kind, Template, launch, load_catalog, use_of
from catalog.schema import Shape
from kernel.errors import NotFound

CATALOG = load_catalog()
TEMPLATES = list(CATALOG)
MODELS = [t for t in TEMPLATES if t.shape is not None]


def decoder(shape: Shape, biases: int) -> int:
    """Parameters of a decoder with grouped heads and a gated MLP; ``biases`` on q, k, v."""
    width = shape.kv_heads * shape.head_dim
    attention = 2 * shape.hidden**2 + 2 * shape.hidden * width
    attention += biases * (shape.hidden + 2 * width)
    layer = attention + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
    return shape.layers * layer + shape.hidden * (shape.vocabulary + 1)


def encoder(shape: Shape, positions: int, pooler: bool) -> int:
    """Parameters of a BERT encoder with biases and norms."""
    layer = 4 * (shape.hidden**2 + shape.hidden) + 2 * 2 * shape.hidden
    layer += 2 * shape.hidden * shape.intermediate + shape.intermediate + shape.hidden
    embeddings = (shape.vocabulary + positions + 2) * shape.hidden + 2 * shape.hidden
    return shape.layers * layer + embeddings + (shape.hidden**2 + shape.hidden if pooler else 0)


def whisper(shape: Shape, encoder_layers: int, mels: int) -> int:
    """Parameters of a Whisper: k has no bias; the decoder attends to itself and the encoder."""
    attention = 4 * shape.hidden**2 + 3 * shape.hidden
    feed = 2 * shape.hidden * shape.intermediate + shape.intermediate + shape.hidden
    norm = 2 * shape.hidden
    convolutions = 3 * shape.hidden * (mels + shape.hidden) + 2 * shape.hidden
    encoded = encoder_layers * (attention + feed + 2 * norm) + convolutions + norm
    encoded += 1500 * shape.hidden
    decoded = shape.layers * (2 * attention + feed + 3 * norm) + norm
    return encoded + decoded + (shape.vocabulary + 448) * shape.hidden


COUNTED = {
    "Qwen/Qwen2.5-0.5B-Instruct": lambda shape: decoder(shape, biases=1),
    "BAAI/bge-large-en-v1.5": lambda shape: encoder(shape, 512, pooler=True),
    "openai/whisper-large-v3-turbo": lambda shape: whisper(shape, 32, 128),
}


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", MODELS, ids=lambda t: t.id)
def test_parameters_are_counted_from_the_shape(template: Template) -> None:
    assert template.shape is not None
    assert COUNTED[template.id](template.shape) == template.shape.parameters


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda t: t.id)
def test_it_can_be_launched(template: Template) -> None:
    spec = launch(template, use_of(template, context=None, concurrency=None), 1)
    said = [*spec.arguments, *spec.process]
    assert "{port}" in said
    assert "{model_id}" not in " ".join(said)
    assert template.id in said


def test_there_is_one_of_each_kind() -> None:
    for kind in Kind:
        assert CATALOG.of_kind(kind), kind


def test_only_listed_models_are_shown() -> None:
    shown = [t.id for t in CATALOG.of_kind(None)]
    assert "ganglion/stand-in" in shown
    assert "ganglion/tiny-random" not in shown


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        CATALOG.get("nobody/nothing")
    assert caught.value.error_code == "model_not_found"


def test_vllm_is_told_the_split_and_the_limits() -> None:
    qwen = CATALOG.get("Qwen/Qwen2.5-0.5B-Instruct")
    spec = launch(qwen, use_of(qwen, context=2048, concurrency=7), 2)
    pairs = dict(zip(spec.arguments[::2], spec.arguments[1::2], strict=False))
    assert pairs["--tensor-parallel-size"] == "2"
    assert (pairs["--max-model-len"], pairs["--max-num-seqs"]) == ("2048", "7")


def test_the_tiny_model_starts_a_real_vllm_as_a_process() -> None:
    tiny = CATALOG.get("ganglion/tiny-random")
    spec = launch(tiny, use_of(tiny, context=None, concurrency=None), 1)
    assert tiny.engine is Engine.VLLM
    assert spec.process[:3] == ["{vllm}", "serve", "{model_path}"]
    assert spec.process[spec.process.index("--served-model-name") + 1] == "ganglion/tiny-random"
    assert spec.environment["HF_HUB_OFFLINE"] == "1"
    assert spec.start_seconds_max == 300, "a busy machine without a GPU takes its time"
