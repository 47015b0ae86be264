"""The twin of a GPU's kernel: the same work in plain Python, in small sizes, on no GPU at all."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import mul

from kernel import workproof as proof
from node_agent.checks.work import NoRoom


class CpuKernel:
    """Keeps its blocks in memory, ``bytes_max`` at most."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._blocks: list[bytes] = []
        self._product: list[list[int]] = []

    def fill(self, key: bytes, blocks: int, block_bytes: int) -> None:
        if blocks * block_bytes > self._bytes_max:
            raise NoRoom(f"{blocks * block_bytes} bytes are more than {self._bytes_max}.")
        self._blocks = [proof.stream(key, index, block_bytes) for index in range(blocks)]

    def read(self, key: bytes) -> Sequence[bytes]:
        weights = proof.words(proof.stream(key, 0, len(self._blocks[0])))
        return [proof.digest(proof.words(block), weights) for block in self._blocks]

    def multiply(
        self, left: bytes, right: bytes, weights: bytes, shape: tuple[int, int, int]
    ) -> Sequence[bytes]:
        rows, inner, columns = shape
        columns_of_b = _columns(right, inner, columns)
        self._product = []
        for row in range(rows):
            own = proof.int8s(proof.stream(left, row, inner))
            self._product.append([sum(map(mul, own, column)) for column in columns_of_b])
        weighed = proof.words(proof.stream(weights, 0, columns * proof.LEAF_BYTES))
        return [proof.row_digest(row, weighed) for row in self._product]

    def rows(self, wanted: Sequence[int]) -> list[bytes]:
        return [array("i", self._product[row]).tobytes() for row in wanted]


def _columns(key: bytes, inner: int, columns: int) -> list[tuple[int, ...]]:
    rows = [proof.int8s(proof.stream(key, index, columns)) for index in range(inner)]
    return list(zip(*rows, strict=True))
