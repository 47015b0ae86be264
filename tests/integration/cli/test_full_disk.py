"""``ganglion up`` on disks that are full, or become so while it starts: each is one sentence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.installation import command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="small disks are mounted by root alone")
Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of its own in memory, with so many bytes or files."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        arguments = ["mount", "-t", "tmpfs", "-o", options, "disk", str(place)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def refusal(home: Path) -> str:
    """What it said, which was an error and nothing of itself is left running."""
    done = command(home, "up", "--brain-port", "0", "--gateway-port", "0", "--no-node")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert not (home / "state.json").exists()
    return done.stderr


def test_a_disk_with_little_space_is_refused_before_anything_is_made(disk: Disk) -> None:
    home = disk("size=64m")
    said = refusal(home)
    assert f"The disk of {home} is nearly full: 64 MiB are free and 512 MiB are needed" in said
    assert not (home / "postgres").exists()


def test_a_disk_without_room_for_a_folder_is_told(disk: Disk) -> None:
    home = disk("size=1g,nr_inodes=1")
    assert f"{home} cannot be used: No space left on device." in refusal(home)


# Valkey's file, the database's first files, its own database within them.
@pytest.mark.parametrize("files", [40, pytest.param(900, marks=pytest.mark.long), 1100])
def test_a_disk_that_fills_up_during_the_start_is_told(disk: Disk, files: int) -> None:
    home = disk(f"size=1g,nr_inodes={files}")
    assert refusal(home).startswith(f"Error: The disk of {home} is full.\nFree some space")
    assert not (home / "postgres").exists()


@pytest.mark.long
def test_a_disk_that_fills_up_during_a_migration_is_told(disk: Disk) -> None:
    home = disk("size=1g,nr_inodes=1400")
    assert refusal(home).startswith(f"Error: The disk of {home} is full.\nFree some space")
    assert (home / "postgres").exists()
