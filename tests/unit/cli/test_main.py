"""The command itself: quick to help, clear about what it was not told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.main import PANELS, app
from tests.support.shared import ROOT

HEAVY = ("httpx", "sqlalchemy", "pydantic", "fastapi", "openai", "asyncpg", "brain", "kernel.wire")
COMMANDS = (
    *("up", "status", "doctor", "demo", "register", "login", "balance", "usage", "receipt"),
    *("keys", "catalog", "deploy", "deployments", "logs", "stop", "nodes", "admin", "offers"),
    *("secret", "metrics", "pod", "volume", "ssh-key", "registry", "provider", "disputes"),
    *("minutes", "clouds"),
    *("agent", "gateway", "stand-in"),
)


@pytest.mark.feature("N2")
def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert [name for name in COMMANDS if name not in shown.output] == []


@pytest.mark.parametrize("name", [c for c in COMMANDS if c not in ("agent", "gateway", "stand-in")])
def test_every_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_both_numbers_of_a_groups_name_are_taken() -> None:
    for one, many in (("pod", "pods"), ("node", "nodes"), ("secret", "secrets")):
        shown = [CliRunner().invoke(app, [name, "list", "--help"]) for name in (one, many)]
        assert [done.exit_code for done in shown] == [0, 0]
    whole = CliRunner().invoke(app, ["--help"]).output
    assert " pods " not in whole


def test_help_loads_nothing_heavy() -> None:
    words = f"import cli.main, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_score_is_recomputed_without_the_brain() -> None:
    words = (
        "import sys; from cli.commands.trust import recomputed;"
        "print(recomputed({'events': [], 'since_ns': 0, 'as_of_ns': 0}), 'brain' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(1000000, 1000000, 0) False"


def test_help_has_the_panels_in_our_order() -> None:
    shown = CliRunner().invoke(app, ["--help"], prog_name="ganglion").output
    places = [shown.index(f" {panel} ") for panel in PANELS]
    assert places == sorted(places)
    assert "Usage: ganglion" in shown


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in every_command(typer.main.get_command(app), [])
        for option in command.params
        if option.param_type_name == "option" and not option.help
    ]
    assert silent == []


def every_command(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    yield path, command
    for name, own in getattr(command, "commands", {}).items():
        yield from every_command(own, [*path, name])


def test_completion_can_be_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "--show-completion", "bash"],
        cwd=ROOT,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "complete" in done.stdout
