"""What the documents point at is there, and what the code imports is in the lock."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("kernel", "catalog", "node_agent", "inference", "brain", "cli", "standins", "migrations")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def tracked(pattern: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(name for name in listed.stdout.splitlines() if (ROOT / name).exists())


@pytest.mark.parametrize("document", tracked("*.md"))
def test_every_link_leads_somewhere(document: str) -> None:
    page = ROOT / document
    dead = [
        link
        for link in LINK.findall(page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not dead, f"{document} links to what is not there: {', '.join(dead)}"


@cache
def locked() -> frozenset[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return frozenset(line.split("==")[0].split("[")[0] for line in lines if "==" in line)


@cache
def providers() -> dict[str, frozenset[str]]:
    """The distributions that bring each importable name."""
    found = packages_distributions()
    return {
        name: frozenset(one.lower().replace("_", "-") for one in brought)
        for name, brought in found.items()
    }


def imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - set(HOUSES)


@pytest.mark.parametrize("house", HOUSES)
def test_every_import_is_in_the_lock_of_what_runs(house: str) -> None:
    missing = {
        name
        for file in (ROOT / house).rglob("*.py")
        for name in imported(file)
        if not providers().get(name, frozenset()) & locked()
    }
    assert not missing, f"{house} imports what requirements.lock does not bring: {missing}"
