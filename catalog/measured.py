"""Pure: what a start of a model has shown, beside what was reckoned for it.

An engine fills its share of the GPU with cache, so the tokens that it has room for tell what all
else took: weights, activations, runtime. What differs from the sum is carried as a line of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog.fit import MEMORY_SHARE, need
from catalog.kv_cache import cache_bytes_per_token, cache_lines
from catalog.schema import Measured, Template
from catalog.shape import FullLayers, LatentLayers
from catalog.sums import MIB, Use

# Of what was reckoned beside the cache. The golden cases lie within 10 %; more than this is a
# lie, or an engine that was started with other arguments, and corrects nothing.
SURPLUS_SHARE = 0.25


@dataclass(frozen=True)
class Started:
    """A worker that is ready: on how many GPUs of which memory, with room for how many tokens."""

    gpus: int
    gpu_name: str
    gpu_memory_mib: int
    kv_tokens: int


def surplus(template: Template, use: Use, seen: Started) -> Measured | None:
    """What each GPU held beyond the sum (below 0: it held less). ``None`` where that cannot be
    told from tokens: no shape, a cache that is not of one size a token, or a figure beyond
    ``SURPLUS_SHARE``."""
    shape = template.shape
    if shape is None or not shape.keeps_cache or seen.kv_tokens <= 0:
        return None
    if not all(isinstance(part, FullLayers | LatentLayers) for part in shape.cache or ()):
        return None
    bare = need(without_measures(template), use, seen.gpus)
    cache_mib = sum(line.mib for line in cache_lines(shape, use, seen.gpus))
    reckoned_mib = bare.per_gpu_mib - cache_mib
    held_mib = seen.kv_tokens * cache_bytes_per_token(shape, use, seen.gpus) // MIB
    mib = int(seen.gpu_memory_mib * MEMORY_SHARE) - held_mib - reckoned_mib
    if abs(mib) > reckoned_mib * SURPLUS_SHARE:
        return None
    how = f"a start on {seen.gpu_name} left room for {seen.kv_tokens:,} tokens"
    return Measured(gpus=seen.gpus, mib=mib, how=how)


def without_measures(template: Template) -> Template:
    return template.model_copy(update={"measured": ()}) if template.measured else template
