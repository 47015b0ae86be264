"""The command itself: quick to help, clear about what it was not told."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
import typer

from cli.main import PANELS, app
from tests.support.shared import ROOT

HEAVY = ("httpx", "sqlalchemy", "pydantic", "fastapi", "openai", "asyncpg", "brain", "kernel.wire")
GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(name for name, own in GROUP.commands.items() if not own.hidden)
PROGRAMS = {"agent", "gateway", "stand-in"}  # they read their options themselves


def typed(*words: str) -> tuple[int, str]:
    """The exit code, and what is on standard output. The command is made once: that takes long."""
    with redirect_stdout(io.StringIO()) as output, pytest.raises(SystemExit) as ended:
        GROUP.main(words, prog_name="ganglion")
    return int(ended.value.code or 0), output.getvalue()


@pytest.mark.feature("N2")
def test_help_names_every_command() -> None:
    code, shown = typed("--help")
    assert code == 0
    rows = {line.split()[1] for line in shown.splitlines() if line.startswith("│ ")}
    assert set(COMMANDS) - rows == set()
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in PROGRAMS])
def test_every_command_explains_itself(name: str) -> None:
    """And each of a group's own says what it does."""
    code, shown = typed(name, "--help")
    assert code == 0
    assert f"Usage: ganglion {name}" in shown
    paths = every_command(GROUP.commands[name], [name])
    assert [path for path, command in paths if not command.help] == []


def test_both_numbers_of_a_groups_name_are_taken() -> None:
    for one, many in (("pod", "pods"), ("node", "nodes"), ("secret", "secrets")):
        assert [typed(name, "list", "--help")[0] for name in (one, many)] == [0, 0]
    assert " pods " not in typed("--help")[1]


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
    shown = typed("--help")[1]
    places = [shown.index(f" {panel} ") for panel in PANELS]
    assert places == sorted(places)
    assert "Usage: ganglion" in shown


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in every_command(GROUP, [])
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
