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

from bench.__main__ import PARTS as BENCHES
from tools.parts import PARTS_KNOWN

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("kernel", "catalog", "node_agent", "inference", "brain", "cli", "standins", "migrations")
# A file by its path from the clone's root, or from tests. Braces and stars as a shell's.
FILE = re.compile(r"^([\w.-]+/[\w./{},*<>-]+\.(?:py|md|ya?ml|toml|sh|json|txt|ini|c|html))$")
BRACES = re.compile(r"\{([^{}]*)\}")
CODE = re.compile(r"`([^`\n]+)`")
BASES = (ROOT, ROOT / "tests")
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


@pytest.mark.parametrize("document", tracked("*.md"))
def test_every_file_that_a_page_names_is_there(document: str) -> None:
    words = [w for span in CODE.findall((ROOT / document).read_text()) for w in span.split()]
    paths = {path for word in words for path in FILE.findall(word.strip(".,:;()"))}
    gone = sorted(path for path in paths if is_ours(path) and not all(map(found, spelled(path))))
    assert not gone, f"{document} names what is not there: {', '.join(gone)}"


def is_ours(path: str) -> bool:
    """Not a place on a host, nor in the home of a program."""
    return any((base / path.split("/", maxsplit=1)[0]).is_dir() for base in BASES)


def found(pattern: str) -> bool:
    return any(place for base in BASES for place in base.glob(pattern))


def spelled(path: str) -> list[str]:
    """Each of the files that braces stand for; what a reader is to fill in is anything."""
    path = re.sub("<[^<>]*>", "*", path)
    braces = BRACES.search(path)
    if braces is None:
        return [path]
    start, end = braces.span()
    return [
        one for word in braces[1].split(",") for one in spelled(path[:start] + word + path[end:])
    ]


@pytest.mark.parametrize("document", ["Makefile", "docs/performance.md"])
def test_each_part_of_the_bench_can_be_asked_for_as_written(document: str) -> None:
    first, *others = re.findall(r"ONLY=([a-z|]+)", (ROOT / document).read_text())
    assert sorted(first.split("|")) == sorted(BENCHES)
    assert set(others) <= set(BENCHES)


def test_the_makefile_says_the_size_of_vllm_as_its_fetcher_does() -> None:
    size = next(part.size for part in PARTS_KNOWN if part.name == "vllm")
    helped = re.findall(r"^parts:.*## (.*)", (ROOT / "Makefile").read_text(), re.M)
    assert f"({size}, " in helped[0]


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
