"""The home folder: one run at a time, secrets made once and kept private."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.faults import CliError
from cli.supervisor.home import Home


def test_a_second_run_is_told_who_holds_the_home(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "home"), Home(tmp_path / "home")
    with first.held():
        first.tell_state({"pid": 4711, "brain_url": "http://127.0.0.1:8000"})
        with pytest.raises(CliError, match=r"already runs .* \(process 4711, http") as refused:
            second.held().__enter__()
    assert refused.value.code == "already_running"


def test_a_home_is_free_again_after_its_run(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.held():
        assert home.is_held()
    assert not home.is_held()
    with home.held():
        pass


def test_asking_whether_a_home_is_held_makes_nothing(tmp_path: Path) -> None:
    assert not Home(tmp_path / "home").is_held()
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_made_once_and_are_long_enough(tmp_path: Path) -> None:
    first, again = Home(tmp_path).secrets(), Home(tmp_path).secrets()
    assert first == again
    assert len(first["JWT_SECRET_KEY"].encode()) >= 64
    assert len(bytes.fromhex(first["MASTER_KEY"])) == 32
    assert len(set(first.values())) == len(first)


def test_only_the_owner_reads_the_secrets(tmp_path: Path) -> None:
    Home(tmp_path).secrets()
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_a_newer_version_adds_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"GATEWAY_TOKEN": "kept"}))
    assert Home(tmp_path).secrets()["GATEWAY_TOKEN"] == "kept"


def test_damaged_secrets_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{half")
    with pytest.raises(CliError, match=r"secrets\.json cannot be read"):
        Home(tmp_path).secrets()
    assert (tmp_path / "secrets.json").read_text() == "{half"


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match=r"cannot be used"):
        Home(tmp_path / "file" / "home").held().__enter__()
