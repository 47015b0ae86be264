"""The fit engine: measured cases within 10 %, and what must always hold."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from catalog import Precision, Use, fit, load_catalog, need, parallel_choices, use_of
from catalog.fit import MEMORY_SHARE, cannot_split, shape_need, weight_bytes
from catalog.shape import Shape
from kernel.errors import BadInput

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text())
LABELS = {"weights": "weights", "cache": "KV cache", "activations": "activations"}
CATALOG = load_catalog()
QWEN = CATALOG.get("Qwen/Qwen2.5-0.5B-Instruct")
MIB_OF_GIB = 1024


def shape_of(case: dict[str, Any]) -> Shape:
    if "shape" in case:
        return Shape(**case["shape"])
    shape = CATALOG.get(case["model"]).shape
    assert shape is not None, case["model"]
    return shape


@pytest.mark.feature("D2")
@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_cases_within_ten_percent(case: dict[str, Any]) -> None:
    use = Use(**{**case["use"], "kv_cache": Precision(case["use"].get("kv_cache", "bfloat16"))})
    found = shape_need(shape_of(case), use, case["gpus"])
    for name, gib in case["expect"].items():
        cache = sum(line.mib for line in found.lines if line.label.startswith("KV cache"))
        mib = sum(x.mib for x in found.lines if x.label.startswith(LABELS.get(name, "?")))
        assert (found.per_gpu_mib - cache if name == "without_cache" else mib) == pytest.approx(
            gib * MIB_OF_GIB, rel=0.10, abs=1
        ), name


@pytest.mark.feature("D2")
def test_there_are_enough_golden_cases() -> None:
    """Forty of model, quantisation and context, each with where its figure comes from."""
    asked = {(c.get("model", c["name"]), str(c["use"]), c["gpus"]) for c in GOLDEN}
    assert len(asked) >= 40
    assert all(case["source"].startswith("https://") for case in GOLDEN)
    assert all("how" in case for case in GOLDEN if "model" in case)


@pytest.mark.feature("D2")
def test_the_lines_are_the_sum() -> None:
    found = need(QWEN, use_of(QWEN, context=None, concurrency=None))
    assert sum(line.mib for line in found.lines) == found.per_gpu_mib
    assert all(line.how for line in found.lines)


VARIANTS = [t.quantised(one.id) for t in CATALOG for one in t.quantisations]
shapes = st.sampled_from([t.shape for t in [*CATALOG, *VARIANTS] if t.shape is not None])
uses = st.builds(
    Use,
    context=st.integers(1, 131_072),
    concurrency=st.integers(1, 256),
    batched_tokens=st.sampled_from([256, 2048, 8192, 16_384]),
    kv_cache=st.sampled_from([Precision.FP8, Precision.BFLOAT16]),
)


@pytest.mark.feature("D2")
@given(shapes, uses, st.integers(1, 4096))
def test_more_context_or_users_never_need_less(shape: Shape, use: Use, more: int) -> None:
    less = shape_need(shape, use, 1).per_gpu_mib
    assert shape_need(shape, replace(use, context=use.context + more), 1).per_gpu_mib >= less
    assert shape_need(shape, replace(use, concurrency=use.concurrency + 1), 1).per_gpu_mib >= less


@pytest.mark.feature("D2")
@given(shapes, uses)
def test_a_wider_cache_never_needs_less(shape: Shape, use: Use) -> None:
    sizes = [
        shape_need(shape, replace(use, kv_cache=kind), 1).per_gpu_mib
        for kind in (Precision.FP8, Precision.BFLOAT16, Precision.FLOAT32)
    ]
    assert sizes == sorted(sizes)


@pytest.mark.feature("D2")
@given(shapes)
def test_wider_weights_never_need_less(shape: Shape) -> None:
    kinds = (Precision.INT4, Precision.MXFP4, Precision.FP8, Precision.BFLOAT16, Precision.FLOAT32)
    sizes = [weight_bytes(shape.model_copy(update={"weights": kind})) for kind in kinds]
    assert sizes == sorted(sizes)


@pytest.mark.feature("D2")
@given(shapes, uses)
def test_more_gpus_never_need_more_of_each(shape: Shape, use: Use) -> None:
    """But for the buffers between them, which come once with the second GPU."""
    counts = [gpus for gpus in range(1, 9) if not cannot_split(shape, gpus)]
    each = [
        sum(x.mib for x in shape_need(shape, use, gpus).lines if x.label != "exchange")
        for gpus in counts
    ]
    # A line is rounded up to a MiB, and states to whole pages.
    assert all(after <= before + 16 for before, after in itertools.pairwise(each)), each


@pytest.mark.feature("D2")
@given(st.integers(1, 32768), st.integers(1, 256), st.integers(1, 200_000))
def test_what_fits_has_room_below_the_share(context: int, users: int, memory: int) -> None:
    found = fit(QWEN, Use(context, users), gpu_memory_mib=memory)
    if found.fits:
        assert found.need.per_gpu_mib <= memory * MEMORY_SHARE
    else:
        assert found.need.memory_mib > memory


@pytest.mark.feature("D2")
@pytest.mark.parametrize(
    ("model", "gpus", "why"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 3, "14 attention heads do not divide over 3 GPUs"),
        ("microsoft/phi-4", 4, "10 KV heads divide neither over 4 GPUs nor into them"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507:fp8", 8, "cuts the weights' blocks of 128"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", 7, "4 KV heads divide neither over 7 GPUs"),
        ("Tongyi-MAI/Z-Image-Turbo", 2, "runs on one GPU"),
    ],
)
def test_a_split_that_does_not_divide_is_refused(model: str, gpus: int, why: str) -> None:
    template = CATALOG.get(model)
    with pytest.raises(BadInput, match=why):
        need(template, use_of(template, context=None, concurrency=None), gpus)
    assert gpus not in parallel_choices(template)


@pytest.mark.feature("D2")
def test_each_line_says_in_words_and_numbers_how_it_was_reckoned() -> None:
    found = need(CATALOG.get("openai/gpt-oss-20b"), Use(131072, 4))
    said = {line.label: line.how for line in found.lines}
    assert said["weights"] == (
        "20,914,757,184 parameters in mxfp4 but for 1,797,824,064 in 16 bits, "
        "experts padded by 6.7% = 13,761 MiB"
    )
    assert said["KV cache"] == (
        "2 x 12 layers x 8 KV heads x 64 x bfloat16 = 24,576 bytes a token "
        "x 131,072 tokens x 4 at once"
    )
    assert "the last 128 of each x 4 at once + 8,192 in flight" in said["KV cache (window)"]


def test_published_figures_are_shown_with_who_says_so() -> None:
    found = need(CATALOG.get("Tongyi-MAI/Z-Image-Turbo"), Use(4096, 1))
    assert found.memory_mib == 24987
    assert "https://github.com/vllm-project/vllm-omni" in found.lines[0].how


@pytest.mark.feature("D2")
def test_a_state_takes_pages_as_large_as_those_of_attention() -> None:
    """vLLM's own words for these layers: "Setting attention block size to 1568 tokens"."""
    shape = CATALOG.get("Qwen/Qwen3.6-27B").shape
    assert shape is not None
    one = shape_need(shape, Use(1, 1, kv_cache=Precision.FP8), 1)
    cache = {line.label: line.mib for line in one.lines}
    page = 1568 * 2 * 4 * 256
    assert cache["KV cache"] == -(-16 * page // 2**20)
    assert cache["KV cache (state)"] == -(-48 * 2 * page // 2**20), "and each is kept twice"


def test_heads_decide_over_how_many_gpus_it_splits() -> None:
    assert parallel_choices(QWEN) == (1, 2)
    assert parallel_choices(CATALOG.get("ganglion/stand-in")) == (1,)


def test_heads_that_cannot_be_split_are_kept_twice() -> None:
    shape = Shape(**{**GOLDEN[5]["shape"], "kv_heads": 2})
    two = shape_need(shape, Use(1000, 1), 2).lines[1].mib
    assert shape_need(shape, Use(1000, 1), 4).lines[1].mib == two


def test_a_context_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="context must lie between 1 and 32768"):
        use_of(QWEN, context=32769, concurrency=None)


def test_what_does_not_fit_says_what_it_needs() -> None:
    found = fit(QWEN, Use(32768, 256), gpu_memory_mib=8192)
    assert not found.fits
    assert "these have 8192 MiB" in found.reason
