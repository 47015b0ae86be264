"""The work of one check over a kernel: the same steps on a GPU and on its twin for the CPU.

Runs in a child process, in a container's Python on GPUs: nothing but the standard library and
``kernel.workproof`` is used here. Messages are dicts as they travel, bytes in base64.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kernel import workproof as proof
from kernel.workproof import Tree

MS = 1_000_000


class NoRoom(Exception):
    """The memory could not be filled."""


class NoGpu(Exception):
    """There is no such GPU."""


class Kernel(Protocol):
    """What differs between a GPU and its twin. Keys are 32 bytes; leaves are 8."""

    def fill(self, key: bytes, blocks: int, block_bytes: int) -> None:
        """Make every block and keep all of them. Raises ``NoRoom``."""
        ...

    def read(self, key: bytes) -> Sequence[bytes]:
        """The digest of each block, read back, under the weights of this key."""
        ...

    def multiply(
        self, left: bytes, right: bytes, weights: bytes, shape: tuple[int, int, int]
    ) -> Sequence[bytes]:
        """A product of int8 matrices (rows, inner, columns); the digest of each of its rows."""
        ...

    def rows(self, wanted: Sequence[int]) -> list[bytes]:
        """Rows of the last product, 32-bit integers little-endian."""
        ...


class Work:
    """One check. ``commit``, ``recall`` and ``open`` are called in this order."""

    def __init__(self, kernel: Kernel, order: dict[str, Any], now_ns: Callable[[], int]) -> None:
        self._kernel = kernel
        self._now_ns = now_ns
        self._key = bytes.fromhex(order["key"])
        self._blocks = int(order["blocks"])
        self._block_bytes = int(order["block_bytes"])
        self._shape = (int(order["rows"]), int(order["inner"]), int(order["columns"]))
        self._readings, self._products = int(order["readings"]), int(order["products"])
        self._trees: list[Tree] = []  # of the readings, the recall as the last
        self._roots: list[bytes] = []  # of the products

    def commit(self) -> dict[str, Any]:
        """Fill, read, multiply. What is answered binds to all of it."""
        began = self._now_ns()
        self._kernel.fill(proof.block_key(self._key), self._blocks, self._block_bytes)
        filled = self._now_ns()
        for reading in range(self._readings):
            after = self._trees[-1].root if self._trees else b""
            self._read(proof.reading_key(self._key, reading, after))
        read = self._now_ns()
        for product in range(self._products):
            self._roots.append(self._multiply(product).root)
        return {
            "fill_ms": (filled - began) // MS,
            "read_ms": (read - filled) // MS,
            "multiply_ms": (self._now_ns() - read) // MS,
            "readings": [tree.root.hex() for tree in self._trees],
            "products": [root.hex() for root in self._roots],
        }

    def recall(self, key: str) -> dict[str, Any]:
        """Read all once more under a key that nobody knew before."""
        self._read(bytes.fromhex(key))
        return {"recall": self._trees[-1].root.hex()}

    def open(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Show the sampled digests with their paths, and rows of one product, made once more."""
        blocks = [
            {"reading": reading, "block": block, "path": _texts(self._trees[reading].path(block))}
            for reading, block in sample["blocks"]
        ]
        wanted = [int(row) for row in sample["rows"]]
        tree = self._multiply(int(sample["product"]))
        rows = [
            {"row": row, "content": _text(content), "path": _texts(tree.path(row))}
            for row, content in zip(wanted, self._kernel.rows(wanted), strict=True)
        ]
        return {"blocks": blocks, "rows": rows}

    def _read(self, key: bytes) -> None:
        self._trees.append(Tree.of(self._kernel.read(key)))

    def _multiply(self, product: int) -> Tree:
        after = self._roots[product - 1] if product else self._trees[self._readings - 1].root
        leaves = self._kernel.multiply(
            proof.left_key(self._key),
            proof.right_key(self._key, product, after),
            proof.row_key(self._key, product, after),
            self._shape,
        )
        return Tree.of(leaves)


def _text(content: bytes) -> str:
    return b64encode(content).decode()


def _texts(groups: Sequence[bytes]) -> list[str]:
    return [_text(group) for group in groups]
