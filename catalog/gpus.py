"""Kinds of GPUs that a model's fit is shown for: name and memory as the driver tells it."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.errors import BadInput


@dataclass(frozen=True)
class GpuKind:
    """``per_machine`` is how many of them one machine usually has at most."""

    name: str
    memory_mib: int
    per_machine: int = 8


# From the least memory to the most. All compute in bfloat16, which older ones cannot.
GPU_KINDS = (
    GpuKind("RTX A4000", 16376),
    GpuKind("L4", 23034),
    GpuKind("A10", 23028),
    GpuKind("RTX 4090", 24564),
    GpuKind("RTX 3090", 24576),
    GpuKind("RTX 5090", 32607),
    GpuKind("A100 SXM 40GB", 40960),
    GpuKind("L40S", 46068),
    GpuKind("RTX A6000", 49140),
    GpuKind("H100 SXM", 81559),
    GpuKind("A100 SXM 80GB", 81920),
    GpuKind("RTX PRO 6000", 97887),
    GpuKind("H200 SXM", 143771),
    GpuKind("B200", 183359),
)


def gpu_kinds(text: str) -> tuple[GpuKind, ...]:
    """Those whose name has every word of ``text``; ``BadInput`` names the known ones."""
    words = text.lower().split()
    found = tuple(
        kind for kind in GPU_KINDS if words and all(word in kind.name.lower() for word in words)
    )
    if not found:
        known = ", ".join(kind.name for kind in GPU_KINDS)
        raise BadInput(f"No such GPU is known: {text[:60]!r}. Known are {known}.", param="gpu")
    return found
