"""The work of a GPU check: what is filled, read and multiplied, and how little proves it.

Everything follows from one key, bound to the seed, the check, the node, its boot and the GPU:
what was computed for another check or elsewhere for another node fits nothing here.

**Memory.** Block ``b`` is ``stream(key, b)``: BLAKE2b in counter mode, 64 bytes a counter. Each
*reading* digests every block: the sum of its 64-bit words times weights, modulo 2**64; the
weights come from the root over all digests of the reading before, so they are not known earlier.
A prover with too little memory must make the missing blocks anew for every reading. A block costs
one hash for each 64 bytes to make, and one multiplication for each 8 to read, which on a GPU is
one to two orders cheaper: with sixteen readings, whoever keeps nothing works about sixteen times as
long as whoever fills once, and the time for the class of GPU does not allow it. Digests kept
from an earlier reading help with no later one, because the weights are new; a seed is used once.
The brain names a last reading, the *recall*, with a key of its own, only when all GPUs that are
checked together have committed: memory that is sold twice cannot hold two of them.

A checksum in closed form over the whole memory was left out on purpose: what the brain can sum
without the memory from a seed that both know, the prover can as well. Instead the prover binds
itself to all digests by the root of a tree, and only then learns which blocks are opened; the
brain makes these few blocks itself. Whoever left out a share ``e`` of the blocks is found with
the chance ``1 - (1 - e)**samples``.

**Compute.** Each product C = A x B of int8 matrices has a fresh B, which follows from the root of
the product before, so they cannot be done side by side. The prover binds itself to every row of
C by a digest of the *squares* of its numbers: a digest that is linear in C could be had as
A x (B x weights) without the product. Then rows of one product are opened, and Freivalds' check
with a vector that the brain keeps to itself says whether they are right: C[i] . r = A[i] . (B r)
modulo 2**61 - 1, in O(inner x columns) for the brain instead of the product of the whole.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import mul
from struct import pack

HASH_BYTES = 64
ROOT_BYTES = 20
LEAF_BYTES = 8
ARITY = 16
PRIME = 2**61 - 1
WORD_MASK = 2**64 - 1


def check_key(seed: bytes, check_id: str, node_id: str, host_boot_id: str, gpu_uuid: str) -> bytes:
    """The key of all that a check computes, 32 bytes."""
    bound = "\n".join(("ganglion-check-1", check_id, node_id, host_boot_id, gpu_uuid))
    return blake2b(bound.encode(), key=seed, digest_size=32).digest()


def derive(key: bytes, label: str, number: int = 0, after: bytes = b"") -> bytes:
    """A key for one part of the work, 32 bytes. ``after``: what must have been done before."""
    part = label.encode() + pack("<Q", number) + after
    return blake2b(part, key=key, digest_size=32).digest()


def stream(key: bytes, index: int, size: int) -> bytes:
    """``size`` bytes (a multiple of 64) of the block, row or column ``index``."""
    assert size % HASH_BYTES == 0, "a stream is made in whole hashes"
    head = key + pack("<Q", index)
    return b"".join(
        blake2b(head + pack("<Q", place)).digest() for place in range(size // HASH_BYTES)
    )


def words(content: bytes) -> array[int]:
    """Its 64-bit words, little-endian."""
    found = array("Q", content)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def int8s(content: bytes) -> array[int]:
    """Its bytes as numbers from -128 to 127."""
    return array("b", content)


def digest(values: Sequence[int], weights: Sequence[int]) -> bytes:
    """A leaf: the weighed sum modulo 2**64."""
    return pack("<Q", sum(map(mul, values, weights)) & WORD_MASK)


def row_digest(row: Sequence[int], weights: Sequence[int]) -> bytes:
    """A leaf of a product's row: the weighed sum of squares modulo 2**64."""
    return digest([value * value for value in row], weights)


@dataclass(frozen=True)
class Tree:
    """A commitment to many leaves. ``levels[0]`` are the leaves."""

    levels: tuple[tuple[bytes, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> Tree:
        assert leaves, "a tree has leaves"
        levels = [tuple(leaves)]
        while len(levels[-1]) > 1:
            below = levels[-1]
            levels.append(
                tuple(_join(below[at : at + ARITY]) for at in range(0, len(below), ARITY))
            )
        return cls(tuple(levels))

    @property
    def root(self) -> bytes:
        return _crown(len(self.levels[0]), self.levels[-1][0])

    def path(self, index: int) -> list[bytes]:
        """The group of each level that holds the leaf or what stands over it."""
        found = []
        for level in self.levels[:-1]:
            first = index // ARITY * ARITY
            found.append(b"".join(level[first : first + ARITY]))
            index //= ARITY
        return found


def path_fits(root: bytes, count: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``leaf`` stands at ``index`` of the ``count`` leaves that ``root`` is bound to."""
    if not 0 <= index < count:
        return False
    node, wide, size, groups = leaf, count, LEAF_BYTES, list(path)
    while wide > 1:
        if not groups:
            return False
        group = groups.pop(0)
        first = index // ARITY * ARITY
        place = index - first
        if len(group) != min(ARITY, wide - first) * size:
            return False
        if group[place * size : (place + 1) * size] != node:
            return False
        node = blake2b(group, digest_size=ROOT_BYTES).digest()
        index, wide, size = index // ARITY, -(-wide // ARITY), ROOT_BYTES
    return not groups and _crown(count, node) == root


def _join(group: Sequence[bytes]) -> bytes:
    return blake2b(b"".join(group), digest_size=ROOT_BYTES).digest()


def _crown(count: int, top: bytes) -> bytes:
    return blake2b(pack("<Q", count) + top, digest_size=ROOT_BYTES).digest()


# Which key is for what. Both sides go through these, so that they cannot differ.


def block_key(key: bytes) -> bytes:
    return derive(key, "block")


def reading_key(key: bytes, reading: int, after: bytes) -> bytes:
    """Of the weights of a reading; ``after`` is the root of the one before ("" at the first)."""
    return derive(key, "reading", reading, after)


def left_key(key: bytes) -> bytes:
    """Of the rows of A, which stay the same."""
    return derive(key, "left")


def right_key(key: bytes, product: int, after: bytes) -> bytes:
    """Of the rows of B; ``after`` is the root before: the last reading's, or product's."""
    return derive(key, "right", product, after)


def row_key(key: bytes, product: int, after: bytes) -> bytes:
    """Of the weights of a product's row digests."""
    return derive(key, "row", product, after)
