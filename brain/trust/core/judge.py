"""Pure: whether what an agent opened of a check is what the check's seed gives, and in time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from brain.trust.core.kinds import CheckKind, Finding
from kernel import workproof as proof
from kernel.wire.agent import CheckOrder, CheckRefusal, CheckSample, CheckTold, OpenedRow

MS = 1_000_000
LATE_MS = 30_000  # between what the agent says it took and what the brain waited
CLOCK_MS = 1_000  # nobody works longer than the brain waits, but for a clock's pace
ROOT_HEX = proof.ROOT_BYTES * 2


class _Wrong(Exception):
    """Says what does not fit."""


@dataclass(frozen=True)
class Times:
    """Of one check, in milliseconds: what the brain waited, and the most it takes (None: no
    class for this GPU, so its speed is not judged)."""

    worked: int
    worked_max: int | None
    recalled: int
    recalled_max: int | None


def verify(
    key: bytes, order: CheckOrder, sample: CheckSample, told: CheckTold, secret: Sequence[int]
) -> str:
    """What is wrong with an opened check; empty when nothing is.

    ``secret``: the vector of Freivalds' check, one number below the prime for each column; it
    never leaves the brain.
    """
    try:
        readings, products = _roots(order, told)
        _blocks(key, order, sample, told, readings)
        _rows(key, order, sample, told, [readings[order.readings - 1], *products], secret)
    except _Wrong as wrong:
        return str(wrong)
    return ""


def _roots(order: CheckOrder, told: CheckTold) -> tuple[list[bytes], list[bytes]]:
    """The roots of all readings, the recall as the last, and of the products."""
    if len(told.readings) != order.readings or len(told.products) != order.products:
        raise _Wrong(
            f"It tells {len(told.readings)} readings and {len(told.products)} products;"
            f" {order.readings} and {order.products} were asked for."
        )
    try:
        readings = [bytes.fromhex(root) for root in (*told.readings, told.recall)]
        products = [bytes.fromhex(root) for root in told.products]
    except ValueError:
        raise _Wrong("A root that it tells is not hex.") from None
    if any(len(root) != proof.ROOT_BYTES for root in (*readings, *products)):
        raise _Wrong(f"A root that it tells has not {ROOT_HEX} digits.")
    return readings, products


def _blocks(
    key: bytes,
    order: CheckOrder,
    sample: CheckSample,
    told: CheckTold,
    roots: Sequence[bytes],
) -> None:
    shown = {(one.reading, one.block): one.path for one in told.blocks}
    weights: dict[int, array[int]] = {}
    for reading, block in sample.blocks:
        path = shown.get((reading, block))
        if path is None:
            raise _Wrong(f"Block {block} of reading {reading} was not opened.")
        if reading not in weights:
            weights[reading] = proof.words(
                proof.stream(_weights_key(key, order, reading, roots), 0, order.block_bytes)
            )
        content = proof.stream(proof.block_key(key), block, order.block_bytes)
        leaf = proof.digest(proof.words(content), weights[reading])
        if not proof.path_fits(roots[reading], order.blocks, block, leaf, path):
            raise _Wrong(f"Block {block} of reading {reading} is not what this check's seed gives.")


def _weights_key(key: bytes, order: CheckOrder, reading: int, roots: Sequence[bytes]) -> bytes:
    if reading == order.readings:
        return bytes.fromhex(order.recall)
    return proof.reading_key(key, reading, roots[reading - 1] if reading else b"")


def _rows(
    key: bytes,
    order: CheckOrder,
    sample: CheckSample,
    told: CheckTold,
    chain: Sequence[bytes],
    secret: Sequence[int],
) -> None:
    """``chain[t]`` is the root before product ``t``, ``chain[t + 1]`` its own."""
    rows, inner, columns = order.matrix
    after, root = chain[sample.product], chain[sample.product + 1]
    weights = proof.words(
        proof.stream(proof.row_key(key, sample.product, after), 0, columns * proof.LEAF_BYTES)
    )
    shown = {one.row: one for one in told.rows}
    right = proof.right_key(key, sample.product, after)
    b_secret = [
        sum(map(mul, proof.int8s(proof.stream(right, index, columns)), secret)) % proof.PRIME
        for index in range(inner)
    ]
    for row in sample.rows:
        one = shown.get(row)
        if one is None:
            raise _Wrong(f"Row {row} of product {sample.product} was not opened.")
        values = _values(one, columns)
        leaf = proof.row_digest(values, weights)
        if not proof.path_fits(root, rows, row, leaf, one.path):
            raise _Wrong(f"Row {row} of product {sample.product} is not the one committed to.")
        left = proof.int8s(proof.stream(proof.left_key(key), row, inner))
        wanted = sum(map(mul, left, b_secret)) % proof.PRIME
        if sum(map(mul, values, secret)) % proof.PRIME != wanted:
            raise _Wrong(f"Row {row} of product {sample.product} is not the product.")


def _values(one: OpenedRow, columns: int) -> array[int]:
    if len(one.content) != columns * 4:
        raise _Wrong(f"Row {one.row} has not {columns} numbers.")
    values = array("i")
    values.frombytes(one.content)
    return values


def refused(told: CheckTold, gpu_uuid: str, together: Sequence[str], at_ns: int) -> list[Finding]:
    """What an agent's refusal says. ``together``: the other GPUs that held their share then."""
    said = told.reason or "no reason was given"
    if told.refusal is CheckRefusal.NOT_ABLE or told.refusal is None:
        return []
    if told.refusal is CheckRefusal.NO_ROOM:
        if together:
            reason = f"It could not be filled while {_some(together)} held theirs: {said}"
            return [Finding(CheckKind.SHARING, gpu_uuid, False, at_ns, reason)]
        reason = f"Nine tenths of the memory told could not be filled: {said}"
        return [Finding(CheckKind.MEMORY, gpu_uuid, False, at_ns, reason)]
    word = "There is no such GPU" if told.refusal is CheckRefusal.NO_GPU else "The work failed"
    return [Finding(CheckKind.PRESENCE, gpu_uuid, False, at_ns, f"{word}: {said}")]


def silent(gpu_uuid: str, waited_ms: int, at_ns: int) -> list[Finding]:
    """A check that its agent, which is heard, did not finish."""
    reason = f"No answer came within {waited_ms / 1000:.0f} s."
    return [Finding(CheckKind.LATE, gpu_uuid, False, at_ns, reason)]


def opened(
    wrong: str, told: CheckTold, times: Times, gpu_uuid: str, *, crowded: bool, at_ns: int
) -> list[Finding]:
    """What a check that went to its end found. ``wrong``: as :func:`verify` says. ``crowded``:
    another that was checked with it could not be filled, so nothing is said of sharing."""
    if wrong:
        return [Finding(CheckKind.ANSWER, gpu_uuid, False, at_ns, wrong)]
    passed = [CheckKind.PRESENCE, CheckKind.MEMORY, CheckKind.ANSWER]
    if not crowded:
        passed.append(CheckKind.SHARING)
    found = [Finding(kind, gpu_uuid, True, at_ns) for kind in passed]
    said_ms = told.fill_ms + told.read_ms + told.multiply_ms
    slow = times.worked_max is not None and times.worked > times.worked_max
    if slow and said_ms * 2 >= times.worked:
        reason = (
            f"It took {_seconds(times.worked)}; at most {_seconds(times.worked_max)} are taken for"
            " a GPU of this name."
        )
        found.append(Finding(CheckKind.SPEED, gpu_uuid, False, at_ns, reason))
    elif times.worked_max is not None and not slow:
        found.append(Finding(CheckKind.SPEED, gpu_uuid, True, at_ns))
    late = _late(said_ms, times, slow=slow)
    found.append(Finding(CheckKind.LATE, gpu_uuid, not late, at_ns, late))
    return found


def _late(said_ms: int, times: Times, *, slow: bool) -> str:
    if said_ms > times.worked + CLOCK_MS:
        return (
            f"It says that it worked {_seconds(said_ms)}; the brain waited"
            f" {_seconds(times.worked)}."
        )
    if times.worked - said_ms > LATE_MS or (slow and said_ms * 2 < times.worked):
        return (
            f"It says that it worked {_seconds(said_ms)}; the answer came after"
            f" {_seconds(times.worked)}."
        )
    if times.recalled_max is not None and times.recalled > times.recalled_max:
        return (
            f"Reading once more took {_seconds(times.recalled)}; with the memory held it takes"
            f" {_seconds(times.recalled_max)} at most."
        )
    return ""


def _seconds(ms: int | None) -> str:
    return f"{(ms or 0) / 1000:.1f} s"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    more = len(names) - 3
    return shown + (f" and {more} more" if more > 0 else "")
