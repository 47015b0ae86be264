"""The fit engine: measured cases within 10 %, and what must always hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from catalog import Precision, Use, fit, load_catalog, need, parallel_choices, use_of
from catalog.fit import MEMORY_SHARE, shape_need
from catalog.shape import Shape
from kernel.errors import BadInput

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text())
LABELS = {"weights": "weights", "cache": "KV cache", "activations": "activations"}
CATALOG = load_catalog()
QWEN = CATALOG.get("Qwen/Qwen2.5-0.5B-Instruct")
MIB_OF_GIB = 1024


@pytest.mark.feature("D2")
@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_cases_within_ten_percent(case: dict[str, Any]) -> None:
    use = Use(**{**case["use"], "kv_cache": Precision(case["use"].get("kv_cache", "bfloat16"))})
    found = shape_need(Shape(**case["shape"]), use, case["gpus"])
    by_label = {line.label: line.mib for line in found.lines}
    for name, gib in case["expect"].items():
        mib = (
            found.per_gpu_mib - by_label["KV cache"]
            if name == "without_cache"
            else by_label[LABELS[name]]
        )
        assert mib == pytest.approx(gib * MIB_OF_GIB, rel=0.10), name


def test_there_are_enough_golden_cases() -> None:
    assert len(GOLDEN) >= 12


@pytest.mark.feature("D2")
def test_the_lines_are_the_sum() -> None:
    found = need(QWEN, use_of(QWEN, context=None, concurrency=None))
    assert sum(line.mib for line in found.lines) == found.per_gpu_mib
    assert all(line.how for line in found.lines)


@given(st.integers(1, 32768), st.integers(1, 512))
def test_more_context_or_users_never_need_less(context: int, concurrency: int) -> None:
    less = need(QWEN, Use(context, concurrency)).per_gpu_mib
    assert need(QWEN, Use(context + 100, concurrency)).per_gpu_mib >= less
    assert need(QWEN, Use(context, concurrency + 1)).per_gpu_mib >= less


@given(st.integers(1, 32768), st.integers(1, 256), st.integers(1, 200_000))
def test_what_fits_has_room_below_the_share(context: int, users: int, memory: int) -> None:
    found = fit(QWEN, Use(context, users), gpu_memory_mib=memory)
    if found.fits:
        assert found.need.per_gpu_mib <= memory * MEMORY_SHARE
    else:
        assert found.need.memory_mib > memory


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
