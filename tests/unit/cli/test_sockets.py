"""Sockets lie in the home, or in a short private folder where the home lies deep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.embedded.sockets import SOCKET_PATH_BYTES_MAX, socket_folder


def test_a_shallow_home_keeps_its_own_sockets() -> None:
    home = Path(f"/tmp/g{os.getpid()}")
    folder = socket_folder(home)
    assert folder == home / "run"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    home.rmdir()


def test_a_deep_home_gets_a_short_folder(tmp_path: Path) -> None:
    folder = socket_folder(tmp_path / ("deep" * 25))
    assert len(os.fsencode(folder / ".s.PGSQL.5432")) < SOCKET_PATH_BYTES_MAX
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder == socket_folder(tmp_path / ("deep" * 25))
    folder.rmdir()


def test_two_deep_homes_do_not_share(tmp_path: Path) -> None:
    one, two = (socket_folder(tmp_path / (name * 25)) for name in ("deep", "well"))
    assert one != two
    one.rmdir()
    two.rmdir()


def test_a_folder_that_somebody_laid_there_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 25)
    folder = socket_folder(home)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises((PermissionError, FileExistsError)):
        socket_folder(home)
    folder.unlink()
