"""Pure: does a model fit on a GPU, on how many, and the sum shown line by line.

Weights + KV cache (context x concurrency, precision, kind of layer) + activations + runtime,
each over the tensor-parallel GPUs. Golden cases with measured figures: tests/unit/catalog.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.gpus import GPU_KINDS, GpuKind
from catalog.kv_cache import cache_lines
from catalog.schema import Template
from catalog.shape import Precision, Shape
from catalog.sums import BITS, QUANTISED, Line, Use, in_mib, over
from kernel.errors import BadInput

# What vLLM may take of a GPU's memory; the rest is the driver's, and room for what the
# allocator fragments.
MEMORY_SHARE = 0.90
RUNTIME_MIB = 1536  # CUDA context, kernels' workspaces, captured graphs: measured 1.4-1.8 GiB
EXCHANGE_MIB = 1536  # NCCL and all-reduce buffers, once there is more than one GPU
BYTES_A_LOGIT = 40  # the sampler's peak: logits in 16 and 32 bits, probabilities, sorted, indices
GPUS_MAX = 8  # GPUs of one machine
DISK_GIB = 40  # the engine's image unpacked, compiled kernels, logs
FILES_OVER_WEIGHTS = 1.1  # a repository has more than the weights: tokenizers, further heads


@dataclass(frozen=True)
class Need:
    """What each of ``gpus`` GPUs must have free for the engine, which takes at most ``share``
    of a GPU's memory."""

    gpus: int
    lines: tuple[Line, ...]
    share: float = MEMORY_SHARE

    @property
    def per_gpu_mib(self) -> int:
        return sum(line.mib for line in self.lines)

    @property
    def memory_mib(self) -> int:
        """The least memory that each GPU must have."""
        return -(-self.per_gpu_mib * 100 // round(self.share * 100))


@dataclass(frozen=True)
class Fit:
    """``need`` is of the smallest number of GPUs that fits, or of the largest tried."""

    fits: bool
    need: Need
    reason: str


@dataclass(frozen=True)
class GpuFit:
    """Whether so many GPUs of a kind are enough for a model."""

    kind: GpuKind
    fit: Fit


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
    """Over how many GPUs the model can be split."""
    if template.shape is None:
        return (1,)
    shape = template.shape
    return tuple(gpus for gpus in range(1, GPUS_MAX + 1) if not cannot_split(shape, gpus))


def cannot_split(shape: Shape, gpus: int) -> str:
    """Why the model cannot be split over so many GPUs; "" when it can."""
    if shape.attention_heads % gpus:
        return f"{shape.attention_heads} attention heads do not divide over {gpus} GPUs"
    heads = [shape.kv_heads, *(h for part in shape.cache if (h := getattr(part, "kv_heads", 0)))]
    for count in heads:
        if count % gpus and gpus % count:
            return f"{count} KV heads divide neither over {gpus} GPUs nor into them"
    for count in shape.split_by:
        if count % gpus:
            return f"{count} heads of its other layers do not divide over {gpus} GPUs"
    for width in shape.widths:
        if width % gpus:
            return f"layers {width:,} wide do not divide over {gpus} GPUs"
        if width // gpus % shape.weight_block:
            return (
                f"{width:,} over {gpus} GPUs is {width // gpus:,}, which cuts the weights' blocks "
                f"of {shape.weight_block}"
            )
    return ""


def need(template: Template, use: Use, gpus: int = 1) -> Need:
    """What each of ``gpus`` GPUs needs, with the sum shown. ``BadInput`` when it cannot be split
    over so many."""
    if template.shape is not None:
        found = shape_need(template.shape, use, gpus)
        seen = next((one for one in template.measured if one.gpus == gpus), None)
        if seen is None:
            return found
        return replace(found, lines=(*found.lines, Line("measured", seen.mib, seen.how)))
    if gpus > 1:
        raise BadInput(f"{template.id} runs on one GPU.", param="gpus")
    if template.memory:
        # Published figures are of the whole engine: nothing of the GPU is held back besides.
        lines = tuple(Line(x.label, x.mib, f"{x.how} ({x.source})") for x in template.memory)
        return Need(1, lines, share=1.0)
    fixed = template.fixed_memory_mib or 0
    return Need(1, (Line("fixed", fixed, "as measured for this engine"),))


def shape_need(shape: Shape, use: Use, gpus: int) -> Need:
    """The same for a bare shape."""
    why_not = cannot_split(shape, gpus)
    if why_not:
        raise BadInput(f"It cannot be split over {gpus} GPUs: {why_not}.", param="gpus")
    lines = [_weights(shape, gpus), *cache_lines(shape, use, gpus), _activations(shape, use, gpus)]
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


def fits_by_kind(template: Template, use: Use) -> list[GpuFit]:
    """The fit on every kind of GPU that is known, from the least memory to the most."""
    return [
        GpuFit(kind, fit(template, use, gpu_memory_mib=kind.memory_mib, gpus_max=kind.per_machine))
        for kind in GPU_KINDS
    ]


def smallest_gpu(template: Template, use: Use) -> GpuFit | None:
    """The fewest GPUs on which it fits, of the kind with the least memory; None: nowhere."""
    fitting = [one for one in fits_by_kind(template, use) if one.fit.fits]
    return min(fitting, key=lambda one: (one.fit.need.gpus, one.kind.memory_mib), default=None)


def disk_gib(template: Template) -> int:
    """Disk that a machine needs for it: the engine's image, room to work, and the files."""
    if template.shape is None:
        return DISK_GIB + -(-sum(line.mib for line in template.memory) // 1024)
    shape, own = template.shape, template.id.partition(":")[0]
    if template.quantisation and template.repository == own:
        shape = shape.model_copy(update={"weights": Precision.BFLOAT16, "weight_bytes": None})
    return DISK_GIB + -(-round(weight_bytes(shape) * FILES_OVER_WEIGHTS) // 2**30)


def weight_bytes(shape: Shape) -> int:
    """All weights. Quantised files keep embeddings, and ``kept_parameters``, in 16 bits."""
    if shape.weight_bytes is not None:
        return shape.weight_bytes
    bits = BITS[shape.weights]
    if shape.weights not in QUANTISED:
        return round(shape.parameters * bits / 8)
    kept = kept_parameters(shape)
    return round((shape.parameters - kept) * bits / 8 * padding(shape)) + kept * 2


def padding(shape: Shape) -> float:
    """By how much the engine's kernels widen experts in MXFP4, to the next 256."""
    if shape.weights is not Precision.MXFP4 or shape.experts is None:
        return 1.0
    return -(-shape.experts.width // 256) * 256 / shape.experts.width


def kept_parameters(shape: Shape) -> int:
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return min(embeddings + shape.kept_parameters, shape.parameters)


def _weights(shape: Shape, gpus: int) -> Line:
    total = weight_bytes(shape)
    if shape.weight_bytes is not None:
        how = f"{total:,} bytes of published {shape.weights.value} files"
    elif shape.weights in QUANTISED:
        how = (
            f"{shape.parameters:,} parameters in {shape.weights.value} "
            f"but for {kept_parameters(shape):,} in 16 bits"
        )
        if padding(shape) > 1:
            how += f", experts padded by {padding(shape) - 1:.1%}"
    else:
        how = f"{shape.parameters:,} parameters in {shape.weights.value}"
    return Line("weights", in_mib(total / gpus), f"{how} = {in_mib(total):,} MiB{over(gpus)}")


def _activations(shape: Shape, use: Use, gpus: int) -> Line:
    """The largest of peaks that do not meet: a layer over a full batch, the sampler, a picture."""
    width = _layer_width(shape, gpus)
    peaks = [
        (
            use.batched_tokens * width * 2,
            f"{use.batched_tokens:,} tokens in a batch x {width:,} values x 2 bytes",
        )
    ]
    if shape.keeps_cache:
        peaks.append(
            (
                use.concurrency * shape.vocabulary * BYTES_A_LOGIT,
                f"sampler: {use.concurrency} x {shape.vocabulary:,} logits x {BYTES_A_LOGIT} bytes",
            )
        )
    if shape.vision is not None:
        seen = shape.vision
        wide = 3 * (seen.intermediate + seen.hidden)
        peaks.append(
            (
                seen.patches * wide * 2,
                f"the largest picture: {seen.patches:,} patches x {wide:,} values x 2 bytes",
            )
        )
    size, how = max(peaks)
    return Line("activations", in_mib(size), how)


def _layer_width(shape: Shape, gpus: int) -> int:
    """Values of one token that are alive at once in a layer, on one GPU."""
    if shape.experts is None:
        return 3 * shape.intermediate // gpus + 3 * shape.hidden
    mixed = shape.experts
    wide = mixed.active * (3 * mixed.width // gpus + shape.hidden)
    return wide + 3 * mixed.shared * mixed.width // gpus + 3 * shape.hidden
