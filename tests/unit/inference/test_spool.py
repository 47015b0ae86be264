"""The spool: what was written is there after any death, once, up to the last whole record."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from inference.meter import Residence, Target
from inference.notes import Finished
from inference.spool import Place, Remains, Spool, find_remains, notes
from kernel.errors import Unavailable
from kernel.wire.gateway import Segment, SegmentEnd, segment_key

TARGET = Target(1, "acct_1", "key_1", "dep_1", "rep_1", "lease_1", 3, "m", "chat")
FILE_BYTES = 8192
MS = 1_000_000


def name(number: int) -> str:
    return f"req_{number:032x}"


def resident(number: int, start_ns: int = 100) -> Residence:
    return Residence(TARGET, name(number), attempt=0, start_ns=start_ns, day=20260101)


class Book:
    """A spool with its open residences, as the gateway keeps them."""

    def __init__(self, folder: Path, *, files: int = 1000, keep: bool = True) -> None:
        self.open: dict[int, Residence] = {}
        self.spool = Spool(
            folder,
            "boot_1",
            file_bytes=FILE_BYTES,
            bytes_max=files * FILE_BYTES,
            residences=lambda: list(self.open.values()),
            keep_unread=keep,
        )
        self.finished: list[str] = []

    def begin(self, number: int, start_ns: int = 100) -> None:
        one = resident(number, start_ns)
        self.spool.opened(one)
        self.open[number] = one

    def end(self, number: int, at_ns: int = 200) -> None:
        one = self.open.pop(number)
        one.finish(at_ns, SegmentEnd.DONE, 200, (0, 0, False))
        self._note(one)

    def cut(self, number: int, at_ns: int) -> None:
        one = self.open[number]
        one.cut(at_ns, 0)
        self._note(one)
        one.go_on(20260101)

    def _note(self, one: Residence) -> None:
        self.spool.finished(one)
        self.finished.append(segment_key(one.request_id, one.attempt, one.number))

    def die(self) -> None:
        self.spool.close(empty=False)


def remains(folder: Path) -> list[Segment]:
    (dead,) = find_remains(folder, own="boot_2")
    found = dead.segments()
    dead.close()
    return found


def all_read(spool: Spool, limit: int = 7) -> list[str]:
    """The keys of all finished pieces."""
    place, found = Place(1, 0), list[str]()
    while True:
        batch = spool.read(place, limit)
        found += [one.key for one in batch.segments]
        place = batch.after
        if batch.whole:
            return found


@pytest.mark.parametrize("seed", range(20))
def test_after_a_death_everything_is_there_once(tmp_path: Path, seed: int) -> None:
    chance, book, number = random.Random(seed), Book(tmp_path), 0
    for step in range(chance.randrange(600)):
        at_ns = 100 + step
        if not book.open or chance.random() < 0.5:
            book.begin(number, at_ns)
            number += 1
        elif chance.random() < 0.3:
            book.cut(chance.choice(list(book.open)), at_ns)
        else:
            book.end(chance.choice(list(book.open)), at_ns)
    cut_off = set(book.open)
    book.die()
    found = remains(tmp_path)
    assert len({one.key for one in found}) == len(found)
    assert {one.key for one in found if one.end is not SegmentEnd.CUT} == set(book.finished)
    cut = {one.request_id for one in found if one.end is SegmentEnd.CUT}
    assert cut == {name(number) for number in cut_off}


def test_what_is_open_ends_at_the_last_tick(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.begin(1, 100 * MS)
    book.spool.tick(900 * MS)
    book.begin(2, 950 * MS)
    book.die()
    assert [(one.start_ns, one.end_ns) for one in remains(tmp_path)] == [
        (100 * MS, 900 * MS),
        (950 * MS, 950 * MS),
    ]


def test_reading_the_remains_twice_is_the_same(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.begin(1)
    book.cut(1, 150)
    book.die()
    assert remains(tmp_path) == remains(tmp_path)


def test_a_torn_tail_ends_the_reading(tmp_path: Path) -> None:
    book = Book(tmp_path)
    for number in range(3):
        book.begin(number)
        book.end(number)
    book.die()
    content = min(tmp_path.glob("*/*.spool")).read_bytes()
    whole = finished(content)
    for end in range(0, 1000, 3):
        torn = content[:end] + b"\x7f" * 8 + content[end + 8 :]
        found = finished(torn)
        assert found == whole[: len(found)]
    assert len(whole) == 3


def finished(content: bytes) -> list[Segment]:
    return [one.segment for one in notes(content, "boot_1") if isinstance(one, Finished)]


def test_a_live_process_keeps_its_spool(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert find_remains(tmp_path, own="boot_2") == []
    book.die()
    assert len(find_remains(tmp_path, own="boot_2")) == 1


def test_one_that_begins_is_never_taken_for_a_dead_one(tmp_path: Path) -> None:
    """Another process of the same folder looks for the dead all the while."""
    taken: list[Remains] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            taken.extend(find_remains(tmp_path, own=""))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(200):
            begun = Spool(tmp_path, f"boot_{number}", file_bytes=FILE_BYTES, bytes_max=FILE_BYTES)
            begun.close(empty=True)
    finally:
        over.set()
        looking.join()
    assert taken == []


def test_reading_goes_over_many_files_in_order(tmp_path: Path) -> None:
    book = Book(tmp_path)
    for number in range(500):
        book.begin(number)
        book.end(number)
    assert book.spool.end.file > 3
    assert len(all_read(book.spool)) == 500
    assert all_read(book.spool) == book.finished


def test_released_files_are_gone_and_what_is_open_is_not_lost(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.begin(9999, 50)
    for number in range(300):
        book.begin(number)
        book.end(number)
    book.spool.release(book.spool.end)
    assert len(list(tmp_path.glob("*/*.spool"))) <= 3
    book.die()
    cut = [one for one in remains(tmp_path) if one.end is SegmentEnd.CUT]
    assert [(one.request_id, one.start_ns) for one in cut] == [(name(9999), 50)]


def test_a_full_spool_refuses_new_requests_but_counts_what_runs(tmp_path: Path) -> None:
    book = Book(tmp_path, files=16)
    with pytest.raises(Unavailable):
        list(map(book.begin, range(100_000)))
    for number in list(book.open):
        book.end(number)
    assert len(all_read(book.spool)) == len(book.finished)


def test_without_a_brain_the_oldest_files_are_given_up(tmp_path: Path) -> None:
    book = Book(tmp_path, files=16, keep=False)
    for number in range(100_000, 100_200):
        book.begin(number)
    for number in range(3000):
        book.begin(number)
        book.end(number)
    assert len(list(tmp_path.glob("*/*.spool"))) <= 18
    book.die()
    cut = [one for one in remains(tmp_path) if one.end is SegmentEnd.CUT]
    assert len(cut) == 200


def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.begin(1)
    book.end(1)
    book.spool.close(empty=True)
    assert list(tmp_path.iterdir()) == []
