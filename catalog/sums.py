"""What the sum of a model's memory is made of: what is asked, and its lines."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.shape import Precision

MIB = 1024 * 1024

BITS = {
    Precision.FLOAT32: 32.0,
    Precision.BFLOAT16: 16.0,
    Precision.FLOAT16: 16.0,
    Precision.FP8: 8.0,
    Precision.INT8: 8.0,
    Precision.INT4: 4.0 + (16 + 4) / 128,
    Precision.MXFP4: 4.0 + 8 / 32,
}
QUANTISED = frozenset({Precision.FP8, Precision.INT8, Precision.INT4, Precision.MXFP4})


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


def in_mib(size: float) -> int:
    """Bytes in MiB, rounded up."""
    return -(-round(size) // MIB)


def over(gpus: int) -> str:
    return f", over {gpus} GPUs" if gpus > 1 else ""
