"""Every command that the pages name is there, with the options that they write."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from tests.support.shared import ROOT

COMMAND: Any = typer.main.get_command(app)
PLANS = {"features.md"}  # it names what is to come as well
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in PLANS),
]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
STARTS = re.compile(r"(?:\$ )?(?:\.venv/bin/)?ganglion ")
OWN_OPTIONS = {"agent", "gateway", "stand-in"}  # programs that read their arguments themselves


def written(page: Path) -> Iterator[list[str]]:
    """The words of each command, up to what only a shell reads."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [*FENCED.findall(text), *INDENTED.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    lines += INLINE.findall(FENCED.sub("", text))
    for line in lines:
        if found := STARTS.match(line.strip()):
            words = shlex.split(line.strip()[found.end() :], comments=True)
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


def test_the_reader_of_pages_finds_commands() -> None:
    found = [words for page in PAGES for words in written(page)]
    assert ["deployments", "rollback", "mine"] in found
    assert len(found) > 80
    assert wrong(["pod", "make"]) == "pod has no make"
    assert wrong(["pod", "create", "--rpm", "1"]) == "--rpm is no option of create"
