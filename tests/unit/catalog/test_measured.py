"""What a start has shown: with it the sum tells what the engine really has room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Measured, Started, fit, load_catalog, need, surplus, use_of
from catalog.fit import MEMORY_SHARE
from catalog.kv_cache import cache_bytes_per_token, cache_lines
from catalog.measured import SURPLUS_SHARE
from catalog.schema import Template
from catalog.sums import MIB

CATALOG = load_catalog()
QWEN = CATALOG.get("Qwen/Qwen3-8B")
L40S = 46_068
USE = use_of(QWEN, context=None, concurrency=None)


def beside_cache(gpus: int = 1) -> int:
    assert QWEN.shape is not None
    cache = sum(line.mib for line in cache_lines(QWEN.shape, USE, gpus))
    return need(QWEN, USE, gpus).per_gpu_mib - cache


def room(memory_mib: int, more_mib: int, gpus: int = 1) -> int:
    """Tokens of an engine that takes so much more than was reckoned."""
    assert QWEN.shape is not None
    free = int(memory_mib * MEMORY_SHARE) - beside_cache(gpus) - more_mib
    return free * MIB // cache_bytes_per_token(QWEN.shape, USE, gpus)


def corrected(found: Measured | None) -> Template:
    assert found is not None
    return QWEN.model_copy(update={"measured": (found,)})


@pytest.mark.feature("D2")
@given(
    more=st.integers(-2_000, 2_000),
    memory=st.sampled_from([46_068, 81_559, 143_771]),
    gpus=st.sampled_from([1, 2]),
)
def test_a_start_corrects_the_sum_by_what_it_took_more(more: int, memory: int, gpus: int) -> None:
    seen = Started(gpus, "a GPU", memory, room(memory, more, gpus))
    found = surplus(QWEN, USE, seen)
    after = need(corrected(found), USE, gpus)
    assert after.per_gpu_mib == pytest.approx(need(QWEN, USE, gpus).per_gpu_mib + more, abs=2)
    assert sum(line.mib for line in after.lines) == after.per_gpu_mib
    assert after.lines[-1].how == f"a start on a GPU left room for {seen.kv_tokens:,} tokens"
    assert surplus(corrected(found), USE, seen) == found, "learnt anew it is the same"


def test_what_was_measured_on_one_gpu_says_nothing_of_two() -> None:
    found = surplus(QWEN, USE, Started(1, "L40S", L40S, room(L40S, 1_500)))
    assert need(corrected(found), USE, 2) == need(QWEN, USE, 2)


def test_a_model_that_took_more_does_not_fit_any_more_where_it_just_did() -> None:
    least = need(QWEN, USE).memory_mib
    found = surplus(QWEN, USE, Started(1, "L40S", L40S, room(L40S, 1_000)))
    assert fit(QWEN, USE, gpu_memory_mib=least, gpus_max=1).fits
    assert not fit(corrected(found), USE, gpu_memory_mib=least, gpus_max=1).fits


@pytest.mark.parametrize("share", [-SURPLUS_SHARE, SURPLUS_SHARE])
def test_a_figure_that_cannot_be_corrects_nothing(share: float) -> None:
    """A node that lies must not make a model unplaceable, nor have it placed where it fails."""
    beyond = round(beside_cache() * share * 1.01)
    assert surplus(QWEN, USE, Started(1, "L40S", L40S, room(L40S, beyond))) is None
    assert surplus(QWEN, USE, Started(1, "L40S", L40S, 0)) is None


def test_what_tokens_cannot_tell_is_not_learnt() -> None:
    for model in ("ganglion/stand-in", "BAAI/bge-m3"):
        template = CATALOG.get(model)
        use = use_of(template, context=None, concurrency=None)
        assert surplus(template, use, Started(1, "L40S", L40S, 100_000)) is None
    windows = [x for x in CATALOG.of_kind(None) if x.shape is not None and x.shape.cache]
    assert windows, "there are models with a cache of several kinds"
    assert any(
        surplus(x, use_of(x, context=None, concurrency=None), Started(1, "H200", 143_771, 100_000))
        is None
        for x in windows
    )
