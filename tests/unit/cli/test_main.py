"""The command itself: quick to help, clear about what it was not told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.support.shared import ROOT

HEAVY = ("httpx", "sqlalchemy", "pydantic", "fastapi", "openai", "asyncpg", "brain", "kernel.wire")
COMMANDS = (
    *("up", "status", "doctor", "demo", "register", "login", "balance", "usage", "receipt"),
    *("keys", "catalog", "deploy", "deployments", "logs", "stop", "nodes", "admin"),
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


def test_help_loads_nothing_heavy() -> None:
    words = f"import cli.main, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


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
