"""The kernel of a check on a GPU, in torch: runs inside the worker image, on its one GPU.

The same values as the twin's, bit for bit: BLAKE2b in counter mode over int64 tensors (their
arithmetic wraps at 2**64, as BLAKE2b's does), sums of products modulo 2**64, and an int8 product
with 32-bit sums. ``device="cpu"`` runs the same code without a GPU, for the test of that claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from struct import pack, unpack
from typing import Any

from kernel.workproof import LEAF_BYTES
from node_agent.checks.work import NoGpu, NoRoom

# Made and read at a time, so that what is worked with beside the memory stays below 0.5 GiB.
CHUNK_HASHES = 1 << 19
CHUNK_BYTES = 1 << 26
IV = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
LANES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
HEAD_BYTES = 48  # key, index and place: what one hash of a stream is of
PARAMETERS = 0x01010000 ^ 64  # no key, fan-out and depth 1, 64 bytes


class CudaKernel:
    """Holds its blocks in one tensor of bytes on the device."""

    def __init__(self, device: str = "cuda") -> None:
        torch: Any = import_module("torch")  # of the image; the agent itself has none
        if device == "cuda" and not torch.cuda.is_available():
            raise NoGpu("torch finds no GPU in its container.")
        self._torch, self._device = torch, device
        self._memory: Any = None
        self._product: Any = None
        self._left: tuple[bytes, Any] | None = None

    def fill(self, key: bytes, blocks: int, block_bytes: int) -> None:
        torch = self._torch
        try:
            self._memory = torch.empty(
                (blocks, block_bytes // LEAF_BYTES), dtype=torch.int64, device=self._device
            )
            self._make(key, self._memory)
            self._wait()
        except torch.cuda.OutOfMemoryError as problem:
            raise NoRoom(str(problem)[:300]) from None

    def read(self, key: bytes) -> Sequence[bytes]:
        torch = self._torch
        width = self._memory.shape[1]
        weights = torch.empty((1, width), dtype=torch.int64, device=self._device)
        self._make(key, weights)
        step = max(1, CHUNK_BYTES // (width * LEAF_BYTES))
        parts = [part.mul(weights).sum(dim=1) for part in self._memory.split(step)]
        return _leaves(torch.cat(parts).cpu().tolist())

    def multiply(
        self, left: bytes, right: bytes, weights: bytes, shape: tuple[int, int, int]
    ) -> Sequence[bytes]:
        torch = self._torch
        rows, inner, columns = shape
        if self._left is None or self._left[0] != left:
            self._left = (left, self._matrix(left, rows, inner))
        self._product = self._times(self._left[1], self._matrix(right, inner, columns))
        weighed = torch.empty((1, columns), dtype=torch.int64, device=self._device)
        self._make(weights, weighed)
        step = max(1, CHUNK_BYTES // (columns * LEAF_BYTES))
        parts = []
        for part in self._product.split(step):
            wide = part.to(torch.int64)
            parts.append(wide.mul(wide).mul(weighed).sum(dim=1))
        return _leaves(torch.cat(parts).cpu().tolist())

    def rows(self, wanted: Sequence[int]) -> list[bytes]:
        picked = self._product[list(wanted)].cpu().tolist()
        return [pack(f"<{len(row)}i", *row) for row in picked]

    def _matrix(self, key: bytes, rows: int, columns: int) -> Any:
        torch = self._torch
        made = torch.empty((rows, columns // LEAF_BYTES), dtype=torch.int64, device=self._device)
        self._make(key, made)
        return made.view(torch.int8)

    def _times(self, left: Any, right: Any) -> Any:
        """int8 x int8 with 32-bit sums: the tensor cores' on a GPU."""
        if self._device == "cpu":
            return left.to(self._torch.int32) @ right.to(self._torch.int32)
        return self._torch._int_mm(left, right)

    def _wait(self) -> None:
        if self._device != "cpu":
            self._torch.cuda.synchronize()

    def _make(self, key: bytes, into: Any) -> None:
        """Row ``i`` of ``into`` becomes ``workproof.stream(key, i, ...)``."""
        torch = self._torch
        rows, width = into.shape
        places = width // 8  # hashes a row
        flat = into.view(rows * places, 8)
        key_words = unpack("<4q", key)
        for first in range(0, rows * places, CHUNK_HASHES):
            last = min(rows * places, first + CHUNK_HASHES)
            number = torch.arange(first, last, dtype=torch.int64, device=self._device)
            index = torch.div(number, places, rounding_mode="floor")
            flat[first:last] = self._hashes(key_words, index, number - index * places)

    def _hashes(self, key: Sequence[int], index: Any, place: Any) -> Any:
        """BLAKE2b-512 of key, index and place, one row of 8 words each."""
        torch = self._torch
        zero = torch.zeros_like(index)
        message = [zero + word for word in key] + [index, place] + [zero] * 10
        state = [zero + _signed(word) for word in IV]
        state[0] = zero + _signed(IV[0] ^ PARAMETERS)
        lanes = [*state, *(zero + _signed(word) for word in IV)]
        lanes[12] = lanes[12] ^ HEAD_BYTES
        lanes[14] = ~lanes[14]
        for turn in range(12):
            order = SIGMA[turn % 10]
            for at, (a, b, c, d) in enumerate(LANES):
                x, y = message[order[2 * at]], message[order[2 * at + 1]]
                _mix(lanes, a, b, c, d, x, y)
        return torch.stack([state[at] ^ lanes[at] ^ lanes[at + 8] for at in range(8)], dim=1)


def _mix(v: list[Any], a: int, b: int, c: int, d: int, x: Any, y: Any) -> None:
    v[a] = v[a] + v[b] + x
    v[d] = _turned(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _turned(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _turned(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _turned(v[b] ^ v[c], 63)


def _turned(value: Any, bits: int) -> Any:
    """Turned right; int64's own shift keeps the sign, so its copies are masked away."""
    return ((value >> bits) & ((1 << (64 - bits)) - 1)) | (value << (64 - bits))


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _leaves(sums: Sequence[int]) -> list[bytes]:
    return [pack("<q", value) for value in sums]
