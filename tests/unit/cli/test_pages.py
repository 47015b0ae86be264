"""Every command that the pages name is there, with the options that they write."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.main import app
from cli.supervisor.plan import STOP_ORDER
from tests.support.shared import ROOT

COMMAND: Any = typer.main.get_command(app)
PLANS = {"features.md"}  # it names what is to come as well
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in PLANS),
]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
# At a line's start or behind another command; variables, a service's container or a path before it.
STARTS = re.compile(
    r"(?:^|[;&|] *)(?:\$ )?(?:[A-Z_]+=\S+ )*"
    r"(?:docker compose -f (?P<file>\S+) (?:run|exec) (?:--[\w-]+ )*(?P<service>[\w-]+) )?"
    r"(?:\.venv/bin/)?ganglion "
)
PROGRAM = re.compile(r"\bpython3? -m ([\w.]+)")
TARGET = re.compile(r"(?:^|[;&|] *)(?:\$ )?(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)")
NOT_OURS = {"http.server"}
OWN_OPTIONS = {"agent", "gateway", "stand-in"}  # programs that read their arguments themselves


def lines_of(page: Path) -> list[str]:
    """What a page shows as typed: blocks, and words between backticks."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [*FENCED.findall(text), *INDENTED.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.strip() for line in lines + INLINE.findall(FENCED.sub("", text))]


def written(page: Path) -> Iterator[list[str]]:
    """The words of each command, up to what only a shell reads."""
    for line in lines_of(page):
        for found in STARTS.finditer(line):
            words = shlex.split(line[found.end() :], comments=True)
            ends = [n for n, word in enumerate(words) if word[0] in "|&<>…" or word == "--"]
            yield words[: min(ends, default=len(words))]


def wrong(words: list[str]) -> str:
    """What of a command is not there; empty where all is."""
    command = COMMAND
    known = {"--help"}
    for word in words:
        if word.startswith("-"):
            name = word.partition("=")[0]
            if name not in known | {opt for one in command.params for opt in option_names(one)}:
                return f"{name} is no option of {command.name}"
        elif (choices := getattr(command, "commands", None)) is not None:
            if any(part not in choices for part in word.split("|")):
                return f"{command.name} has no {word}"
            command = choices[word.split("|")[0]]
        if command.name in OWN_OPTIONS:
            return ""
    return ""


def option_names(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    faults = {" ".join(words): why for words in written(page) if (why := wrong(words))}
    assert not faults


def test_the_readme_lists_every_command() -> None:
    said = (ROOT / "README.md").read_text().partition("--help` lists all:")[2].partition(".")[0]
    listed = INLINE.findall(said)
    assert sorted(listed) == sorted(
        name for name, own in COMMAND.commands.items() if not own.hidden
    )


def test_every_command_is_told_of_on_a_page() -> None:
    """`docs/cli.md` names each group and what stands alone; what a group has, some page."""
    told = {path for page in PAGES for path in named(page)}
    assert sorted(every_path(COMMAND) - told) == []
    own = named(ROOT / "docs" / "cli.md")
    assert {path for path in every_path(COMMAND) if " " not in path} - own == set()


def named(page: Path) -> set[str]:
    """The commands that a page's words between backticks and in blocks begin with."""
    found: set[str] = set()
    for line in [re.sub("^.*?ganglion ", "", line) for line in lines_of(page)]:
        command, paths = COMMAND, [""]
        for word in line.split():
            choices = getattr(command, "commands", {})
            parts = [part for part in word.split("|") if part in choices]
            if not parts:
                break
            paths = [f"{path} {part}".strip() for path in paths for part in parts]
            found.update(paths)
            command = choices[parts[0]]
    return found


def every_path(command: Any, before: str = "") -> set[str]:
    shown = {n: own for n, own in getattr(command, "commands", {}).items() if not own.hidden}
    deeper = [every_path(own, f"{before}{name} ") for name, own in shown.items()]
    return {before + name for name in shown}.union(*deeper)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_programs_and_targets_of_a_page_are_there(page: Path) -> None:
    lines = lines_of(page)
    programs = {name for line in lines for name in PROGRAM.findall(line)} - NOT_OURS
    assert [name for name in programs if not can_be_run(name)] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {name for line in lines for name in TARGET.findall(line)} - targets == set()
    composed = [found for line in lines for found in STARTS.finditer(line) if found["file"]]
    for found in composed:
        assert found["service"] in yaml.safe_load((ROOT / found["file"]).read_text())["services"]


def can_be_run(module: str) -> bool:
    """With ``python -m``: a package by its ``__main__``, a file by its last lines."""
    place = ROOT / module.replace(".", "/")
    file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    return file.exists() and (place.is_dir() or "__main__" in file.read_text())


@pytest.mark.parametrize(
    ("page", "starts"), [("README.md", "`make run` makes"), ("docs/cli.md", "`up` starts")]
)
def test_a_page_names_each_part_that_up_starts(page: str, starts: str) -> None:
    said = (ROOT / page).read_text().partition(starts)[2].partition("\n\n")[0].lower()
    parts = {"postgres": "postgresql", "front": "front of pods"}
    assert [one for group in STOP_ORDER for one in group if parts.get(one, one) not in said] == []


def test_the_page_tells_the_order_in_which_parts_stop() -> None:
    said = (ROOT / "docs" / "cli.md").read_text().partition("- **Stop**:")[2].partition(";")[0]
    stores = {"valkey": "stores", "postgres": "stores"}
    places = [[said.index(stores.get(one, one)) for one in group] for group in STOP_ORDER]
    for group, after in pairwise(places):
        assert max(group) < min(after), said


def test_the_reader_of_pages_finds_commands() -> None:
    found = [words for page in PAGES for words in written(page)]
    assert ["deployments", "rollback", "mine"] in found
    assert ["admin", "create", "you@example.com"] in found, "behind docker compose"
    assert ["up"] in found, "behind a variable"
    assert len(found) > 80
    assert not can_be_run("cli")
    assert wrong(["pod", "make"]) == "pod has no make"
    assert wrong(["pod", "create", "--rpm", "1"]) == "--rpm is no option of create"
