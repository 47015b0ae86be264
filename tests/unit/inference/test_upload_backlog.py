"""What waits to be sent: in memory, in a file without a name, and sent again."""

from __future__ import annotations

import gc
import os
import stat
from pathlib import Path

import pytest

from inference.upload_backlog import HELD_BYTES_MAX, Backlog
from inference.upload_spill import Spills
from kernel.errors import Unavailable
from tests.support.wait import until

PIECES = [bytes([n]) * 50_000 for n in range(20)]
pytestmark = pytest.mark.feature("A4")


async def drained(backlog: Backlog) -> bytes:
    out = bytearray()

    def go() -> bool:
        out.extend(backlog.take())
        return not backlog.left

    await until(go, every=0)
    return bytes(out)


async def test_a_file_gives_what_it_took_again_and_again(tmp_path: Path) -> None:
    backlog = Backlog(Spills(tmp_path, 1 << 30), lambda: None)
    for number, piece in enumerate(PIECES):
        backlog.append(piece)
        if number == 3:
            backlog.spill()
    for _ in range(2):
        assert await drained(backlog) == b"".join(PIECES)
        assert not backlog.forget()
        backlog.rewind()
    backlog.close()


async def test_the_file_has_no_name_and_is_its_openers_alone(tmp_path: Path) -> None:
    spills = Spills(tmp_path / "new", 1 << 30)
    number = spills.make()
    assert stat.S_IMODE(os.fstat(number).st_mode) == 0o600
    assert not list((tmp_path / "new").iterdir())
    os.close(number)


async def test_a_closed_file_gives_its_room_back(tmp_path: Path) -> None:
    spills = Spills(tmp_path, 1 << 30)
    backlog = Backlog(spills, lambda: None)
    backlog.spill()
    gc.collect()  # what other tests left to it is not closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    backlog.append(PIECES[0])
    assert spills.used == len(PIECES[0])
    backlog.close()
    await until(lambda: spills.used == 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_there_is_an_end_to_the_disk(tmp_path: Path) -> None:
    backlog = Backlog(Spills(tmp_path, 60_000), lambda: None)
    backlog.spill()
    backlog.append(PIECES[0])
    with pytest.raises(Unavailable, match="send the field model before the file"):
        backlog.append(PIECES[1])
    backlog.close()


async def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[bool] = []
    backlog = Backlog(Spills(tmp_path / "file", 1 << 30), lambda: told.append(backlog.failed))
    backlog.spill()
    backlog.append(PIECES[0])
    await until(lambda: told)
    assert told == [True]
    backlog.close()


async def test_in_memory_only_so_much_is_kept(tmp_path: Path) -> None:
    backlog = Backlog(Spills(tmp_path, 0), lambda: None)
    for piece in PIECES:
        backlog.append(piece)
        assert backlog.take() == piece
        if backlog.forget():
            break
    assert HELD_BYTES_MAX < backlog.size <= HELD_BYTES_MAX + 50_000
    assert not backlog.whole


async def test_what_is_kept_can_be_sent_again(tmp_path: Path) -> None:
    backlog = Backlog(Spills(tmp_path, 0), lambda: None)
    for piece in PIECES[:3]:
        backlog.append(piece)
    assert backlog.take() + backlog.take() == PIECES[0] + PIECES[1]
    backlog.rewind()
    assert await drained(backlog) == b"".join(PIECES[:3])
