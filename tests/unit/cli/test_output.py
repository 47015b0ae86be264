"""How figures, times and other people's words are shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli import output


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("0.500000000", "$0.50"),
        ("0.79", "$0.79"),
        ("1.234500000", "$1.2345"),
        ("-0.1", "-$0.10"),
        ("$9.99", "$9.99"),
        ("12", "$12"),
        (None, "-"),
        ("", "-"),
    ],
)
def test_dollars_have_no_idle_zeros(given: object, shown: str) -> None:
    assert output.dollars(given) == shown


def test_markup_in_other_peoples_words_has_no_effect() -> None:
    page = io.StringIO()
    Console(file=page, width=80).print(output.cell("[red]not red[/] [link=x]"))
    assert page.getvalue().strip() == "[red]not red[/] [link=x]"


def test_a_time_that_is_none_is_a_dash() -> None:
    assert output.when(None) == "-"


def test_a_time_that_cannot_be_read_is_shown_as_it_is() -> None:
    assert output.when("yesterday") == "yesterday"


def test_ids_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=page, width=60))
    identity = "lease_01a1fc625cb97c2c81b8fcae51d1bec2"
    output.table("", ["id", "why"], [[identity, "because " * 20]])
    assert identity in page.getvalue()


def test_no_word_is_cut_and_only_sentences_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=page, width=40))
    model, gpu = "Qwen/Qwen3-235B-A22B-Instruct-2507", "4 x H200 SXM"
    row = [f"[bold]{model}[/]", gpu, "123,456", "because " * 20, " " * 30]
    output.table("", ["model", "GPU", ">context", "why", "blank"], [row])
    lines = page.getvalue().splitlines()
    assert all(words in lines[1] for words in (model, gpu, "123,456"))
    assert page.getvalue().count("because") == 20
    assert "…" not in page.getvalue()


@pytest.mark.parametrize(
    ("terminal", "options", "seen"),
    [(True, [], True), (True, ["--json"], False), (False, [], False)],
)
def test_who_sees_that_a_command_waits(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, options: list[str], seen: bool
) -> None:
    page = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=page, force_terminal=terminal, width=80))
    monkeypatch.setattr("sys.argv", ["ganglion", "prove", *options])
    with output.waiting("looking at [every] row"):
        output.console.print("a line")
    assert ("\x1b[?25l" in page.getvalue()) == seen
    assert "a line" in page.getvalue()
