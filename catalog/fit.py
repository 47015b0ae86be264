"""Pure: does a model fit on a GPU, on how many, and the sum shown line by line.

Weights + KV cache (context x concurrency, precision, grouped heads) + activations + runtime,
each over the tensor-parallel GPUs. Golden cases with measured figures: tests/unit/catalog.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog.schema import Precision, Shape, Template
from kernel.errors import BadInput

MIB = 1024 * 1024
# What vLLM may take of a GPU's memory; the rest is the driver's, and room for what the
# allocator fragments.
MEMORY_SHARE = 0.90
RUNTIME_MIB = 1536  # CUDA context, kernels' workspaces, captured graphs: measured 1.4-1.8 GiB
EXCHANGE_MIB = 1536  # NCCL and all-reduce buffers, once there is more than one GPU
BYTES_A_LOGIT = 40  # the sampler's peak: logits in 16 and 32 bits, probabilities, sorted, indices
GPUS_MAX = 8  # GPUs of one machine

BITS = {
    Precision.FLOAT32: 32.0,
    Precision.BFLOAT16: 16.0,
    Precision.FLOAT16: 16.0,
    Precision.FP8: 8.0,
    Precision.INT8: 8.0,
    Precision.INT4: 4.0 + (16 + 4) / 128,
}
QUANTISED = frozenset({Precision.FP8, Precision.INT8, Precision.INT4})


@dataclass(frozen=True)
class Use:
    """What the deployment asks of the model."""

    context: int
    concurrency: int
    batched_tokens: int = 8192
    kv_cache: Precision = Precision.BFLOAT16


@dataclass(frozen=True)
class Line:
    """One line of the sum: what it is, MiB on each GPU, and how that was reckoned."""

    label: str
    mib: int
    how: str


@dataclass(frozen=True)
class Need:
    """What each of ``gpus`` GPUs must have free for the engine."""

    gpus: int
    lines: tuple[Line, ...]

    @property
    def per_gpu_mib(self) -> int:
        return sum(line.mib for line in self.lines)

    @property
    def memory_mib(self) -> int:
        """The least GPU memory, of which the engine takes ``MEMORY_SHARE``."""
        return -(-self.per_gpu_mib * 100 // round(MEMORY_SHARE * 100))


@dataclass(frozen=True)
class Fit:
    """``need`` is of the smallest number of GPUs that fits, or of the largest tried."""

    fits: bool
    need: Need
    reason: str


def use_of(template: Template, *, context: int | None, concurrency: int | None) -> Use:
    """The template's defaults with what the deployment says; ``BadInput`` when it cannot be."""
    if context is not None and not 1 <= context <= template.context_max:
        raise BadInput(
            f"context must lie between 1 and {template.context_max} for {template.id}.",
            param="context",
        )
    if concurrency is not None and not 1 <= concurrency <= 1024:
        raise BadInput("concurrency must lie between 1 and 1024.", param="concurrency")
    defaults = template.defaults
    return Use(
        context=context or defaults.context,
        concurrency=concurrency or defaults.concurrency,
        batched_tokens=defaults.batched_tokens,
        kv_cache=defaults.kv_cache or Precision.BFLOAT16,
    )


def parallel_choices(template: Template) -> tuple[int, ...]:
    """Over how many GPUs the model can be split: its heads must divide evenly."""
    if template.shape is None:
        return (1,)
    shape = template.shape
    return tuple(
        gpus
        for gpus in range(1, GPUS_MAX + 1)
        if shape.attention_heads % gpus == 0
        and (shape.kv_heads % gpus == 0 or gpus % shape.kv_heads == 0)
        and shape.intermediate % gpus == 0
    )


def need(template: Template, use: Use, gpus: int = 1) -> Need:
    """What each of ``gpus`` GPUs needs, with the sum shown."""
    if template.shape is None:
        fixed = template.fixed_memory_mib or 0
        return Need(1, (Line("fixed", fixed, "as measured for this engine"),))
    return shape_need(template.shape, use, gpus)


def shape_need(shape: Shape, use: Use, gpus: int) -> Need:
    """The same for a bare shape."""
    lines = [_weights(shape, gpus), _cache(shape, use, gpus), _activations(shape, use, gpus)]
    lines.append(Line("runtime", RUNTIME_MIB, "CUDA context, workspaces and captured graphs"))
    if gpus > 1:
        lines.append(Line("exchange", EXCHANGE_MIB, f"buffers between {gpus} GPUs"))
    return Need(gpus, tuple(lines))


def fit(template: Template, use: Use, *, gpu_memory_mib: int, gpus_max: int = GPUS_MAX) -> Fit:
    """The smallest number of GPUs of this memory on which the model fits."""
    assert gpu_memory_mib >= 0, "memory is never negative"
    wanted = need(template, use, 1)
    for gpus in parallel_choices(template):
        if gpus > gpus_max:
            break
        wanted = need(template, use, gpus)
        if wanted.memory_mib <= gpu_memory_mib:
            return Fit(True, wanted, f"Fits on {gpus} x {gpu_memory_mib} MiB.")
    return Fit(
        False,
        wanted,
        f"Needs {wanted.memory_mib} MiB on each of {wanted.gpus} GPUs; "
        f"these have {gpu_memory_mib} MiB.",
    )


def weight_bytes(shape: Shape) -> int:
    """All weights. Quantised files keep embeddings in 16 bits."""
    bits = BITS[shape.weights]
    if shape.weights not in QUANTISED:
        return round(shape.parameters * bits / 8)
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return round((shape.parameters - embeddings) * bits / 8) + embeddings * 2


def cache_bytes_per_token(shape: Shape, precision: Precision, gpus: int) -> int:
    """K and V of every layer on one GPU; a head is never split, so it may be kept twice."""
    heads = max(shape.kv_heads // gpus, 1)
    return round(2 * shape.layers * heads * shape.head_dim * BITS[precision] / 8)


def _weights(shape: Shape, gpus: int) -> Line:
    total = weight_bytes(shape)
    how = f"{shape.parameters:,} parameters in {shape.weights.value} = {_mib(total):,} MiB"
    return Line("weights", _mib(total / gpus), how + _over(gpus))


def _cache(shape: Shape, use: Use, gpus: int) -> Line:
    if not shape.keeps_cache:
        return Line("KV cache", 0, "none: the model reads its whole input in one step")
    per_token = cache_bytes_per_token(shape, use.kv_cache, gpus)
    tokens = (use.context + shape.cross_tokens) * use.concurrency
    shown = f"{use.context:,}"
    if shape.cross_tokens:
        shown = f"({use.context:,} + {shape.cross_tokens:,})"
    how = (
        f"2 x {shape.layers} layers x {max(shape.kv_heads // gpus, 1)} KV heads x "
        f"{shape.head_dim} x {use.kv_cache.value} = {per_token:,} bytes a token "
        f"x {shown} tokens x {use.concurrency} at once"
    )
    return Line("KV cache", _mib(per_token * tokens), how)


def _activations(shape: Shape, use: Use, gpus: int) -> Line:
    """The larger of two peaks that do not meet: a layer over a full batch, and the sampler."""
    width = 3 * shape.intermediate // gpus + 3 * shape.hidden
    layer = use.batched_tokens * width * 2
    sampler = use.concurrency * shape.vocabulary * BYTES_A_LOGIT if shape.keeps_cache else 0
    if sampler > layer:
        how = f"sampler: {use.concurrency} x {shape.vocabulary:,} logits x {BYTES_A_LOGIT} bytes"
        return Line("activations", _mib(sampler), how)
    how = f"{use.batched_tokens:,} tokens in a batch x {width:,} values x 2 bytes"
    return Line("activations", _mib(layer), how)


def _mib(size: float) -> int:
    return -(-round(size) // MIB)


def _over(gpus: int) -> str:
    return f", over {gpus} GPUs" if gpus > 1 else ""
