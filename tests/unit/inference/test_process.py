"""How the programs start: a wrong setting is one sentence that names it, and exit code 2."""

from __future__ import annotations

import pytest

from inference.pods.settings import Settings as FrontSettings
from inference.process import load
from inference.settings import Settings


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "abc")
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("GATEWAY_PORT is wrong: ")


def test_what_is_chosen_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "1")
    monkeypatch.setenv("SSH_PORT", "2")
    assert load(Settings, gateway_port=7, gateway_host=None).gateway_port == 7
    assert load(FrontSettings).ssh_port == 2
