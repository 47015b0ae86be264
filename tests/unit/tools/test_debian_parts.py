"""Debian parts: fetched once, and a machine that cannot have them says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.debian_parts import debian
from tools.part import CannotHave


def test_what_is_unpacked_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no apt-get here
    into = tmp_path / "part"
    into.mkdir()
    (into / ".unpacked").write_text("one\ntwo")
    assert debian(["two", "one"], into) == into


def test_other_packages_are_another_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    into = tmp_path / "part"
    into.mkdir()
    (into / ".unpacked").write_text("one")
    with pytest.raises(CannotHave):
        debian(["one", "two"], into)


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotHave, match="apt-get is not on this machine"):
        debian(["one"], tmp_path / "part")
    assert list(tmp_path.iterdir()) == []
