"""What a GPU of a name must be able to do: the table that checks are timed and sized by.

Memory bandwidth and dense int8 throughput are the makers' data sheets' (NVIDIA's product pages
and data sheets of each card; for GeForce cards the architecture white papers). A check asks for
neither: it must be done in ``FACTOR`` times what the table expects, with ``EFFICIENCY`` of the
sheet's figures taken as usual for plain torch. Untabled names are checked for what they hold and
answer, and never for speed. Simulated GPUs have a class of their own: their work is plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FACTOR: Final = 3  # slower than this many times the expected is not this kind of GPU
SLACK_MS: Final = 10_000  # the way to the brain and back, and the start of the worker
EFFICIENCY_PERCENT: Final = 40
FILL_BYTES_MOVED: Final = 490  # by BLAKE2b in torch, for each byte that is made
READ_BYTES_MOVED: Final = 3  # for each byte that is read back


@dataclass(frozen=True)
class GpuClass:
    """``memory_mib`` as the driver tells it, about; ``bandwidth`` in MB/s, ``int8`` in
    giga-operations a second, of the data sheet."""

    name: str  # a part of the driver's name, in small letters
    memory_mib: tuple[int, ...]  # the sizes it is sold with
    bandwidth_mb_s: int
    int8_gops: int


CLASSES: Final = (
    GpuClass("h200", (143_771,), 4_800_000, 1_979_000),
    GpuClass("h100 pcie", (81_559,), 2_000_000, 1_513_000),
    GpuClass("h100 nvl", (95_830,), 3_900_000, 1_671_000),
    GpuClass("h100", (81_559,), 3_350_000, 1_979_000),
    GpuClass("b200", (183_359,), 8_000_000, 4_500_000),
    GpuClass("a100", (40_960, 81_920), 1_555_000, 624_000),
    GpuClass("l40s", (46_068,), 864_000, 733_000),
    GpuClass("l40", (46_068,), 864_000, 362_000),
    GpuClass("l4", (23_034,), 300_000, 242_000),
    GpuClass("a10g", (23_028,), 600_000, 140_000),
    GpuClass("a10", (23_028,), 600_000, 250_000),
    GpuClass("a40", (46_068,), 696_000, 299_000),
    GpuClass("rtx a6000", (49_140,), 768_000, 309_000),
    GpuClass("rtx 5090", (32_607,), 1_792_000, 838_000),
    GpuClass("rtx 4090", (24_564,), 1_008_000, 660_000),
    GpuClass("rtx 3090", (24_576,), 936_000, 284_000),
    GpuClass("t4", (15_360,), 320_000, 130_000),
    GpuClass("v100", (16_384, 32_768), 900_000, 62_000),
)
MEMORY_LESS_PERCENT: Final = 6  # what drivers and ECC keep back


@dataclass(frozen=True)
class Size:
    """How much one check asks for."""

    blocks: int
    block_bytes: int
    readings: int
    matrix: tuple[int, int, int]  # rows, inner, columns; inner >= columns
    products: int


FILL_PERCENT: Final = 90
BLOCK_BYTES: Final = 1 << 20
READINGS: Final = 16  # well above FACTOR / EFFICIENCY: making it anew each time is too slow
SIMULATED_MIB_A_BLOCK: Final = 384  # of the memory told, for one small block of the twin's
SIMULATED_BLOCK_BYTES: Final = 16_384
SIMULATED_MS: Final = 2_000  # what the twin takes on a slow host for 24 GB


def class_of(gpu_name: str) -> GpuClass | None:
    """The first whose name stands in the driver's as whole words; None: not tabled."""
    told = f" {gpu_name.lower().replace('-', ' ')} "
    return next((one for one in CLASSES if f" {one.name} " in told), None)


def size(memory_mib: int, *, simulated: bool) -> Size:
    """Nine tenths of the memory that is told; of a simulated GPU a small block for each part."""
    if simulated:
        blocks = max(1, memory_mib * FILL_PERCENT // 100 // SIMULATED_MIB_A_BLOCK)
        return Size(blocks, SIMULATED_BLOCK_BYTES, 4, (64, 128, 64), 4)
    return Size(memory_mib * FILL_PERCENT // 100, BLOCK_BYTES, READINGS, (16_384, 4_096, 2_048), 64)


def expected_ms(gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
    """How long the work takes on such a GPU; None: not known."""
    if simulated:
        return max(SIMULATED_MS, SIMULATED_MS * asked.blocks // 57)
    known = class_of(gpu_name)
    if known is None:
        return None
    held = asked.blocks * asked.block_bytes
    moved_mb = held * (FILL_BYTES_MOVED + asked.readings * READ_BYTES_MOVED) // 1_000_000
    rows, inner, columns = asked.matrix
    made_mb = inner * columns * asked.products * FILL_BYTES_MOVED // 1_000_000
    summed_mb = rows * columns * 8 * 5 * asked.products // 1_000_000
    operations = 2 * rows * inner * columns * asked.products
    memory_ms = (moved_mb + made_mb + summed_mb) * 1_000 // known.bandwidth_mb_s
    multiply_ms = operations // (known.int8_gops * 1_000_000)
    return (memory_ms + multiply_ms) * 100 // EFFICIENCY_PERCENT


def recall_ms(gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
    """How long one more reading takes; None: not known."""
    if simulated:
        return SIMULATED_MS
    known = class_of(gpu_name)
    if known is None:
        return None
    moved_mb = asked.blocks * asked.block_bytes * READ_BYTES_MOVED // 1_000_000
    return moved_mb * 1_000 // known.bandwidth_mb_s * 100 // EFFICIENCY_PERCENT


def limit_ms(expected: int) -> int:
    """The longest that is taken for this kind of GPU."""
    return expected * FACTOR + SLACK_MS


def impossible(gpu_name: str, memory_mib: int) -> str:
    """Why a GPU of this name cannot have so much memory; empty when it can."""
    known = class_of(gpu_name)
    if known is None:
        return ""
    if any(
        size_mib * (100 - MEMORY_LESS_PERCENT) <= memory_mib * 100 <= size_mib * 102
        for size_mib in known.memory_mib
    ):
        return ""
    sold = " or ".join(f"{size_mib:,}" for size_mib in known.memory_mib)
    less = memory_mib < min(known.memory_mib)
    slice_ = " It is a slice of one, or has less than it says." if less else ""
    return f"{gpu_name} has {sold} MiB; {memory_mib:,} MiB are told.{slice_}"


@dataclass(frozen=True)
class Yardstick:
    """How checks are sized and timed. The table's; the tests have one for small machines."""

    def size(self, gpu_name: str, memory_mib: int, *, simulated: bool) -> Size:
        return size(memory_mib, simulated=simulated)

    def expected_ms(self, gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
        return expected_ms(gpu_name, asked, simulated=simulated)

    def recall_ms(self, gpu_name: str, asked: Size, *, simulated: bool) -> int | None:
        return recall_ms(gpu_name, asked, simulated=simulated)

    def impossible(self, gpu_name: str, memory_mib: int) -> str:
        return impossible(gpu_name, memory_mib)
