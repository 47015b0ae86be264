"""Every template file: it loads, its figures are its architecture's, it can be launched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from catalog import Category, Engine, Kind, Template, launch, load_catalog, smallest_gpu, use_of
from catalog.fit import cannot_split
from kernel.errors import BadInput, NotFound
from tests.unit.catalog.counting import COUNTED, COUNTED_ELSEWHERE

ROOT = Path(__file__).resolve().parents[3]
CATALOG = load_catalog()
TEMPLATES = list(CATALOG)
LISTED = [t for t in TEMPLATES if t.listed and t.publisher != "Ganglion"]
MODELS = [t for t in TEMPLATES if t.shape is not None]
VARIANTS = [t.quantised(one.id) for t in TEMPLATES for one in t.quantisations]


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", MODELS, ids=lambda t: t.id)
def test_parameters_are_counted_from_the_shape(template: Template) -> None:
    assert template.shape is not None
    counted = COUNTED.get(template.id)
    known = counted(template.shape) if counted else COUNTED_ELSEWHERE[template.id]
    assert known == template.shape.parameters


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", MODELS, ids=lambda t: t.id)
def test_active_parameters_leave_out_the_idle_experts(template: Template) -> None:
    shape = template.shape
    assert shape is not None
    if shape.experts is None:
        assert shape.active_parameters is None
        return
    mixed = shape.experts
    idle = (shape.parameters - (shape.active_parameters or 0)) / (mixed.count - mixed.active)
    wide = idle / (3 * shape.hidden * mixed.width) / (shape.layers or 1)
    assert 0.25 < wide <= 1.01, "an expert is two or three matrices in each layer that has any"


@pytest.mark.feature("D1")
def test_there_are_models_on_every_shelf() -> None:
    assert len(LISTED) >= 40
    assert {t.category for t in LISTED} == set(Category)


@pytest.mark.feature("D1")
def test_speech_is_heard_and_spoken() -> None:
    audio = [t.kind for t in LISTED if t.category is Category.AUDIO]
    assert {Kind.TRANSCRIPTION, Kind.SPEECH} <= set(audio)


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", LISTED, ids=lambda t: t.id)
def test_its_figures_have_a_source(template: Template) -> None:
    assert str(template.source).startswith("https://huggingface.co/")
    assert template.figures or template.memory
    assert all(str(line.source).startswith("https://") for line in template.memory)
    assert template.pool, "a hint of its price"


@pytest.mark.feature("D1")
@pytest.mark.parametrize("template", [*TEMPLATES, *VARIANTS], ids=lambda t: t.id)
def test_it_can_be_launched(template: Template) -> None:
    spec = launch(template, use_of(template, context=None, concurrency=None), 1)
    said = [*spec.arguments, *spec.process]
    assert "{port}" in said
    assert "{model_id}" not in " ".join(said)
    assert template.id in said
    assert (template.repository or template.id) in spec.arguments or template.start.process


@pytest.mark.feature("D1", "D2")
@pytest.mark.parametrize("template", [*LISTED, *VARIANTS], ids=lambda t: t.id)
def test_what_it_gets_by_default_fits_on_one_machine(template: Template) -> None:
    found = smallest_gpu(template, use_of(template, context=None, concurrency=None))
    assert found is not None
    assert template.shape is None or not cannot_split(template.shape, found.fit.need.gpus)


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


@pytest.mark.feature("D1")
@pytest.mark.parametrize("name", ["meta-llama/Meta-Llama-3.1-8B-Instruct", "QWEN/qwen3-8b"])
def test_an_alias_and_any_case_find_the_model(name: str) -> None:
    assert CATALOG.get(name).id in {"meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B"}


@pytest.mark.feature("D1")
def test_routes_are_those_of_all_its_kinds() -> None:
    assert CATALOG.get("ganglion/stand-in").routes == (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    )


@pytest.mark.feature("D1")
def test_a_quantisation_is_the_same_model_with_other_weights() -> None:
    fp8 = CATALOG.get("Qwen/Qwen3-8B:fp8")
    spec = launch(fp8, use_of(fp8, context=2048, concurrency=7), 2)
    pairs = dict(zip(spec.arguments[::2], spec.arguments[1::2], strict=False))
    assert (pairs["--model"], pairs["--served-model-name"]) == (
        "Qwen/Qwen3-8B-FP8",
        "Qwen/Qwen3-8B:fp8",
    )
    assert CATALOG.get("Qwen/Qwen3-8B:fp8") is fp8


@pytest.mark.feature("D1")
def test_a_quantisation_that_is_not_offered_is_refused() -> None:
    with pytest.raises(BadInput, match="Quantisations offered: fp8, int4"):
        CATALOG.get("Qwen/Qwen3-8B:gguf")


def test_weights_quantised_while_loading_come_from_the_model_itself() -> None:
    fp8 = CATALOG.get("microsoft/phi-4:fp8")
    arguments = launch(fp8, use_of(fp8, context=None, concurrency=None), 1).arguments
    assert arguments[arguments.index("--model") + 1] == "microsoft/phi-4"
    assert arguments[arguments.index("--quantization") + 1] == "fp8"


def test_vllm_is_told_the_split_and_the_limits() -> None:
    qwen = CATALOG.get("Qwen/Qwen2.5-0.5B-Instruct")
    spec = launch(qwen, use_of(qwen, context=2048, concurrency=7), 2)
    pairs = dict(zip(spec.arguments[::2], spec.arguments[1::2], strict=False))
    assert pairs["--tensor-parallel-size"] == "2"
    assert (pairs["--max-model-len"], pairs["--max-num-seqs"]) == ("2048", "7")


def test_the_engine_of_pictures_is_started_by_its_whole_command() -> None:
    image = CATALOG.get("Tongyi-MAI/Z-Image-Turbo")
    spec = launch(image, use_of(image, context=None, concurrency=None), 1)
    assert spec.arguments[:3] == ["vllm", "serve", "Tongyi-MAI/Z-Image-Turbo"]
    assert "--omni" in spec.arguments
    assert spec.environment["VLLM_NO_USAGE_STATS"] == "1"


def test_it_can_run_without_containers_where_the_engine_is_installed() -> None:
    qwen = CATALOG.get("Qwen/Qwen3-8B:fp8")
    spec = launch(qwen, use_of(qwen, context=None, concurrency=None), 2)
    assert spec.process[:3] == ["{vllm}", "serve", "Qwen/Qwen3-8B-FP8"]
    assert spec.process[spec.process.index("--host") + 1] == "127.0.0.1"
    assert spec.process[3:][6:] == spec.arguments[2:][6:], "but for the address the same"


def test_the_tiny_model_starts_a_real_vllm_as_a_process() -> None:
    tiny = CATALOG.get("ganglion/tiny-random")
    spec = launch(tiny, use_of(tiny, context=None, concurrency=None), 1)
    assert tiny.engine is Engine.VLLM
    assert spec.process[:3] == ["{vllm}", "serve", "{model_path}"]
    assert spec.process[spec.process.index("--served-model-name") + 1] == "ganglion/tiny-random"
    assert spec.environment["HF_HUB_OFFLINE"] == "1"
    assert spec.start_seconds_max == 300, "a busy machine without a GPU takes its time"


@pytest.mark.feature("D1")
def test_the_worked_example_of_the_guide_is_the_file() -> None:
    guide = (ROOT / "docs" / "catalog.md").read_text()
    example = yaml.safe_load(guide.split("```yaml\n")[1].split("```")[0])
    assert Template.model_validate(example) == CATALOG.get("openai/gpt-oss-20b")
