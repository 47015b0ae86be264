"""The agent's count of each lease's time: what is looked at, sealed, chained, and never made up."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kernel.clock import NS, ManualClock
from kernel.wire.agent import (
    Beat,
    GpuReading,
    HostReading,
    LeaseSeen,
    LeaseSeenState,
    NvmlState,
)
from kernel.wire.minutes import Chain, Minute, MinuteAnswer, MinuteBatch, fault
from node_agent.minutes import LOOK_NS_MAX, Book, Minutes, Signer, forget, look, working

KEY = Ed25519PrivateKey.generate()
SIGNER = Signer("node_1", KEY.sign)
LEASE = "lease_1"


def signed(message: bytes, signature: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


def chain_of(records: list[Minute], gpus: int = 2) -> Chain:
    """The chain of these records; fails at the first that does not belong."""
    chain = Chain()
    for record in records:
        assert fault(chain, record, node_id="node_1", gpus=gpus, signed=signed) == ""
        chain = chain.and_then("node_1", record)
    return chain


def run(looks: list[tuple[int, int]], lease: str = LEASE) -> Book:
    """Looks at these times (s), each with so many GPUs at work; 0 = the lease works no more."""
    book = Book("boot")
    for at_s, gpus in looks:
        book = look(book, {lease: (1, gpus)} if gpus else {}, SIGNER, at_s * NS)
    return book


@pytest.mark.feature("G2")
def test_time_is_counted_by_what_the_earlier_look_saw() -> None:
    book = run([(100, 2), (110, 2), (120, 1), (130, 0)])
    (record,) = book.sealed
    assert (record.start_ns, record.end_ns) == (100 * NS, 130 * NS)
    assert (record.container_ns, record.gpu_ns) == (30 * NS, 50 * NS)
    assert book.open == {}


def test_a_minute_that_is_full_is_sealed_and_the_next_one_holds_its_hash() -> None:
    book = run([(at, 2) for at in range(0, 301, 10)] + [(305, 0)])
    assert [record.number for record in book.sealed] == [0, 1, 2, 3, 4, 5]
    chain = chain_of(book.sealed)
    assert (chain.container_ns, chain.gpu_ns) == (305 * NS, 610 * NS)


def test_a_gap_between_two_looks_is_not_made_up() -> None:
    (record,) = run([(0, 1), (45, 1), (50, 0)]).sealed
    assert record.container_ns == LOOK_NS_MAX + 5 * NS


def test_another_epoch_of_a_lease_is_another_chain() -> None:
    book = look(Book("boot"), {LEASE: (1, 1)}, SIGNER, 0)
    book = look(book, {LEASE: (2, 1)}, SIGNER, 10 * NS)
    assert [(r.epoch, r.number) for r in book.sealed] == [(1, 0)]
    assert (book.open[LEASE].epoch, book.open[LEASE].number) == (2, 0)


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_however_it_looks_it_never_counts_more_than_the_time(seed: int, looks: int) -> None:
    chance, now_ns, book, truth = Random(seed), 0, Book("boot"), 0
    before = 0
    for _ in range(looks):
        step_ns = chance.randrange(0, 40 * NS)
        truth += step_ns * before
        now_ns += step_ns
        before = chance.choice([0, 1, 2])
        book = look(book, {LEASE: (1, before)} if before else {}, SIGNER, now_ns)
    by_chain: list[list[Minute]] = []
    for record in book.sealed:
        if record.number == 0:
            by_chain.append([])
        by_chain[-1].append(record)
    assert sum(chain_of(records).gpu_ns for records in by_chain) <= truth


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpu_ns": 61 * NS}, "counts more"),
        ({"container_ns": 31 * NS}, "counts more"),
        ({"number": 1}, "came where 0 was due"),
        ({"previous": "1" * 64}, "hash of the one before"),
        ({"end_ns": 300 * NS}, "in time"),
        ({"container_ns": 1}, "counts more"),
        ({"epoch": 9}, "signature"),
        ({"gpu_ns": 1}, "signature"),
        ({"signature": "zz"}, "signature"),
    ],
)
def test_a_record_that_was_changed_is_found(change: dict[str, object], said: str) -> None:
    (record,) = run([(100, 2), (130, 0)]).sealed
    changed = replace(record, **change)
    assert said in fault(Chain(), changed, node_id="node_1", gpus=2, signed=signed)


def test_a_record_of_another_node_is_not_this_nodes() -> None:
    (record,) = run([(100, 2), (130, 0)]).sealed
    assert "signature" in fault(Chain(), record, node_id="node_2", gpus=2, signed=signed)


def test_what_the_brain_has_is_forgotten_and_nothing_else() -> None:
    book = run([(at, 1) for at in range(0, 200, 10)])
    left = forget(book, MinuteAnswer(kept={LEASE: 2}))
    assert [record.number for record in left.sealed] == [2]
    assert forget(book, MinuteAnswer(kept={}, refused={LEASE: "settled"})).sealed == []


def test_only_gpus_that_are_there_work() -> None:
    gpus = [
        GpuReading(uuid="a", name="g", memory_total_mib=1),
        GpuReading(uuid="b", name="g", memory_total_mib=1, lost=True),
    ]
    seen = [
        LeaseSeen(lease_id="1", epoch=3, state=LeaseSeenState.READY, gpu_uuids=["a", "b", "c"]),
        LeaseSeen(lease_id="2", epoch=3, state=LeaseSeenState.STARTING, gpu_uuids=["a"]),
    ]
    assert working(_beat(gpus, seen)) == {"1": (3, 1)}


def _beat(gpus: list[GpuReading], seen: list[LeaseSeen]) -> Beat:
    host = HostReading(hostname="h", os="o", cpu_count=1)
    return Beat("node_1", "boot", 1, NvmlState.OK, gpus, host, seen)


class Shelf:
    """A brain that keeps records, when it is there."""

    def __init__(self) -> None:
        self.kept: list[Minute] = []
        self.away = False

    async def take(self, batch: MinuteBatch) -> MinuteAnswer:
        if self.away:
            from node_agent.link import BrainAway

            raise BrainAway("away")
        self.kept += batch.records
        return MinuteAnswer(kept={record.lease_id: record.number + 1 for record in self.kept})


@pytest.mark.feature("G2")
async def test_an_agent_that_dies_loses_no_record_and_makes_up_no_time(tmp_path: Path) -> None:
    clock, shelf = ManualClock(), Shelf()
    beat = _beat(
        [GpuReading(uuid="a", name="g", memory_total_mib=1)],
        [LeaseSeen(lease_id=LEASE, epoch=1, state=LeaseSeenState.READY, gpu_uuids=["a"])],
    )

    def agent(boot: str) -> Minutes:
        return Minutes(
            tmp_path / "minutes.json",
            host_boot_id=boot,
            signer=SIGNER,
            ship=shelf.take,
            clock=clock,
            boot_ns=clock.monotonic_ns,
        )

    def beats(minutes: Minutes, seconds: int) -> None:
        for _ in range(seconds // 10):
            minutes.tell(beat)
            clock.advance(10)
        minutes.tell(beat)

    first = agent("boot-1")
    beats(first, 90)
    clock.advance(25)  # killed: nobody looks
    second = agent("boot-1")
    beats(second, 60)
    await second.ship_sealed()
    clock.advance(300)
    third = agent("boot-2")  # the host booted anew: the open minute ended at its last look
    await third.ship_sealed()
    chain = chain_of(shelf.kept, gpus=1)
    assert chain.container_ns == (90 + 60) * NS
    assert agent("boot-2")._book.sealed == []


async def test_a_brain_that_is_away_costs_no_record(tmp_path: Path) -> None:
    from node_agent.link import BrainAway

    clock, shelf = ManualClock(), Shelf()
    minutes = Minutes(
        tmp_path / "minutes.json",
        host_boot_id="boot",
        signer=SIGNER,
        ship=shelf.take,
        clock=clock,
        boot_ns=clock.monotonic_ns,
    )
    seen = [LeaseSeen(lease_id=LEASE, epoch=1, state=LeaseSeenState.READY, gpu_uuids=["a"])]
    beat = _beat([GpuReading(uuid="a", name="g", memory_total_mib=1)], seen)
    for _ in range(13):
        minutes.tell(beat)
        clock.advance(10)
    shelf.away = True
    with pytest.raises(BrainAway):
        await minutes.ship_sealed()
    shelf.away = False
    await minutes.ship_sealed()
    assert chain_of(shelf.kept, gpus=1).number == 2


def test_a_damaged_book_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "minutes.json"
    path.write_bytes(b"{")
    Minutes(
        path,
        host_boot_id="boot",
        signer=SIGNER,
        ship=Shelf().take,
        clock=ManualClock(),
        boot_ns=lambda: 0,
    )
    assert (tmp_path / "minutes.json.damaged").read_bytes() == b"{"
