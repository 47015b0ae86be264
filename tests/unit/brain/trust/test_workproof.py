"""The proof of work: what is honest passes, and each single thing that is wrong does not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.trust.core import judge
from kernel import workproof as proof
from kernel.wire.agent import (
    CheckOrder,
    CheckSample,
    CheckStage,
    CheckTold,
    OpenedBlock,
    OpenedRow,
)
from kernel.workproof import Tree, path_fits
from node_agent.checks.cpu import CpuKernel
from node_agent.checks.extra import _fields
from node_agent.checks.work import NoRoom, Work

pytestmark = pytest.mark.feature("C6")
KEY = bytes(range(32))
RECALL = "ab" * 32
ORDER = CheckOrder(
    check_id="check",
    gpu_uuid="GPU-a",
    seed="00" * 32,
    blocks=40,
    block_bytes=128,
    readings=3,
    matrix=(20, 64, 64),
    products=2,
    seconds_max=60,
    recall=RECALL,
)
SAMPLE = CheckSample(blocks=[(0, 0), (1, 39), (2, 17), (3, 5)], product=1, rows=[0, 19])
SECRET = [random.Random(5).randrange(proof.PRIME) for _ in range(64)]


def line(key: bytes = KEY) -> dict[str, Any]:
    return {
        "key": key.hex(),
        "blocks": 40,
        "block_bytes": 128,
        "readings": 3,
        "products": 2,
        "rows": 20,
        "inner": 64,
        "columns": 64,
    }


def worked(key: bytes = KEY, recall: str = RECALL) -> CheckTold:
    work = Work(CpuKernel(1 << 20), line(key), lambda: 0)
    said = work.commit() | work.recall(recall)
    shown = {"blocks": SAMPLE.blocks, "product": SAMPLE.product, "rows": SAMPLE.rows}
    fields = _fields(said | work.open(shown))
    return CheckTold("check", CheckStage.OPENED, **fields)


def verified(told: CheckTold) -> str:
    return judge.verify(KEY, ORDER, SAMPLE, told, SECRET)


def test_honest_work_passes() -> None:
    assert verified(worked()) == ""


def test_it_travels_and_passes() -> None:
    packed = msgspec.json.encode(worked())
    assert verified(msgspec.json.decode(packed, type=CheckTold)) == ""
    assert len(packed) < 30_000


def test_work_for_another_key_or_recall_fails() -> None:
    assert "not what this check's seed gives" in verified(worked(bytes(32)))
    assert "reading 3 is not" in verified(worked(recall="cd" * 32))


@pytest.mark.parametrize("reading", range(4))
def test_a_changed_digest_is_found(reading: int) -> None:
    told = worked()
    one: OpenedBlock = told.blocks[reading]
    one.path[0] = bytes([one.path[0][0] ^ 1]) + one.path[0][1:]
    assert "not what this check's seed gives" in verified(told)


def test_a_row_that_is_not_the_product_is_found() -> None:
    """Committed to and opened as it is, but wrong: only Freivalds' check can tell."""

    class Wrong(CpuKernel):
        def multiply(self, left: bytes, right: bytes, weights: bytes, shape: Any) -> Any:
            super().multiply(left, right, weights, shape)
            self._product[19][3] += 1
            weighed = proof.words(proof.stream(weights, 0, 64 * 8))
            return [proof.row_digest(row, weighed) for row in self._product]

    work = Work(Wrong(1 << 20), line(), lambda: 0)
    said = work.commit() | work.recall(RECALL)
    shown = {"blocks": SAMPLE.blocks, "product": 1, "rows": SAMPLE.rows}
    told = CheckTold("check", CheckStage.OPENED, **_fields(said | work.open(shown)))
    assert verified(told) == "Row 19 of product 1 is not the product."


def test_a_row_that_was_not_committed_to_is_found() -> None:
    told = worked()
    row: OpenedRow = told.rows[0]
    row.content = b"\x01" + row.content[1:]
    assert "is not the one committed to" in verified(told)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"blocks": []}, "was not opened"),
        ({"rows": []}, "was not opened"),
        ({"readings": ["00" * 20]}, "were asked for"),
        ({"readings": ["zz"] * 3}, "not hex"),
        ({"products": ["00"] * 2}, "has not 40 digits"),
        ({"recall": ""}, "has not 40 digits"),
    ],
)
def test_what_is_missing_or_nonsense_is_said(change: dict[str, Any], what: str) -> None:
    told = msgspec.structs.replace(worked(), **change)
    assert what in verified(told)


def test_a_twin_without_room_says_so() -> None:
    with pytest.raises(NoRoom):
        Work(CpuKernel(100), line(), lambda: 0).commit()


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=300), st.data())
def test_every_leaf_has_a_path_and_no_other_fits_it(leaves: list[bytes], data: Any) -> None:
    tree = Tree.of(leaves)
    at = data.draw(st.integers(0, len(leaves) - 1))
    path = tree.path(at)
    assert path_fits(tree.root, len(leaves), at, leaves[at], path)
    other = bytes([leaves[at][0] ^ 1]) + leaves[at][1:]
    assert not path_fits(tree.root, len(leaves), at, other, path)
    assert not path_fits(tree.root, len(leaves) + 1, at, leaves[at], path)
    assert not path_fits(tree.root, len(leaves), at, leaves[at], [*path, b"x"])
    assert not path_fits(tree.root, len(leaves), len(leaves), leaves[at], path)


def test_keys_differ_by_all_that_they_are_bound_to() -> None:
    bound = ["check", "node", "boot", "gpu"]
    keys = {proof.check_key(KEY, *bound)}
    for place in range(4):
        other = [*bound]
        other[place] += "x"
        keys.add(proof.check_key(KEY, *other))
    assert len(keys) == 5
