"""Where credentials lie and who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import credentials
from cli.credentials import Credentials
from cli.faults import CliError
from cli.settings import RunnerSettings


@pytest.fixture
def settings(tmp_path: Path) -> RunnerSettings:
    return RunnerSettings(ganglion_home=tmp_path / "home")


def test_what_was_saved_is_loaded(settings: RunnerSettings) -> None:
    known = Credentials(brain_url="http://x", email="a@example.com", access_token="t", expires_at=9)
    credentials.save(settings, known)
    assert credentials.load(settings) == known


def test_only_the_owner_reads_them(settings: RunnerSettings) -> None:
    place = credentials.save(settings, Credentials(access_token="t"))
    assert place.stat().st_mode & 0o777 == 0o600


def test_without_any_nobody_is_logged_in(settings: RunnerSettings) -> None:
    assert credentials.load(settings) == Credentials()


def test_a_field_of_a_newer_version_is_left_alone(settings: RunnerSettings) -> None:
    credentials.write_private(settings.home / "credentials", '{"email": "a", "more": 1}')
    assert credentials.load(settings).email == "a"


def test_a_damaged_file_is_one_sentence(settings: RunnerSettings) -> None:
    credentials.write_private(settings.home / "credentials", "{half")
    with pytest.raises(CliError, match="cannot be read"):
        credentials.load(settings)


def test_a_log_in_of_ones_own_comes_before_the_local_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first, second = credentials.places(RunnerSettings(ganglion_home=None))
    assert first == tmp_path / "ganglion" / "credentials"
    assert second.name == "credentials"
