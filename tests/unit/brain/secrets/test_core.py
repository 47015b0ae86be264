"""Secrets: names, sizes, and what logs hide."""

from __future__ import annotations

import pytest

from brain.secrets import core
from kernel.errors import BadInput
from kernel.masking import masked, words_to_hide

pytestmark = pytest.mark.feature("E1")


@pytest.mark.parametrize("name", ["HF_TOKEN", "_x", "a1", "A" * 64])
def test_a_secret_is_named_as_an_environment_variable(name: str) -> None:
    assert core.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "1A", "A-B", "A B", "Ä", "A" * 65, "HF_TOKEN\n", "PATH", "Home", "AGENT_KEY"),
        *("LD_PRELOAD", "ld_library_path", "NVIDIA_VISIBLE_DEVICES", "DOCKER_HOST"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        core.check_name(name)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (core.VALUE_BYTES_MAX + 1), "\ud800"])
def test_a_value_that_no_environment_holds_is_refused_unquoted(value: str) -> None:
    with pytest.raises(BadInput) as refused:
        core.check_value(value)
    assert "xxx" not in refused.value.detail


def test_names_come_once_and_not_too_many() -> None:
    assert core.check_names(["B", "A", "B"]) == ("B", "A")
    with pytest.raises(BadInput):
        core.check_names(f"S{n}" for n in range(core.NAMES_MAX + 1))


def test_what_is_missing_is_named() -> None:
    assert core.missing(["A"], ["A", "B"]) is None
    refusal = core.missing(["A", "B"], ["A"])
    assert refusal is not None
    assert "B" in refusal.detail


def test_a_log_line_hides_each_line_of_each_value_the_longest_first() -> None:
    words = words_to_hide(["hunter22", "hunter22-longer", "-----KEY\nline two of it\n", "abc"])
    said = masked("a hunter22-longer b hunter22 c line two of it abc", words)
    assert said == "a *** b *** c *** abc"


def test_an_environment_too_large_for_a_start_is_refused() -> None:
    with pytest.raises(BadInput):
        core.check_environment({f"S{n}": "x" * core.VALUE_BYTES_MAX for n in range(5)})
