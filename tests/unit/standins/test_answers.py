"""What the stand-in says is a function of the prompt alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standins.worker import answers
from standins.worker.answers import Wish

LONG = Wish(tokens_max=4000)


@given(st.text(max_size=300))
def test_tokens_put_together_are_the_text(text: str) -> None:
    assert "".join(answers.split(text)) == text
    assert answers.count(text) == len(answers.split(text))


@given(st.text(max_size=100), st.integers(0, 5))
def test_the_same_prompt_has_the_same_answer(prompt: str, choice: int) -> None:
    assert answers.speak(prompt, LONG, choice) == answers.speak(prompt, LONG, choice)


def test_it_says_what_it_is() -> None:
    assert "Ganglion stand-in worker, not a language model" in answers.speak("Hi", LONG, 0).text


def test_choices_differ() -> None:
    assert answers.speak("Hi", LONG, 0).text != answers.speak("Hi", LONG, 1).text


@given(st.integers(1, 300))
def test_it_keeps_to_the_longest_length(tokens_max: int) -> None:
    answer = answers.speak("Hi", Wish(tokens_max=tokens_max), 0)
    whole = len(answers.speak("Hi", LONG, 0).pieces)
    assert len(answer.pieces) == min(whole, tokens_max)
    assert (answer.finish_reason == "length") == (whole > tokens_max)


@pytest.mark.parametrize("tokens", [1, 40, 1000])
def test_it_runs_on_to_the_length_asked(tokens: int) -> None:
    answer = answers.speak("Hi", Wish(tokens_max=tokens, run_on=True), 0)
    assert (len(answer.pieces), answer.finish_reason) == (tokens, "length")


def test_it_stops_before_the_first_stop_string() -> None:
    answer = answers.speak("Hi", Wish(tokens_max=100, stop=("language", "Ganglion")), 0)
    assert answer.text == "This is the "
    assert (answer.finish_reason, answer.stop_reason) == ("stop", "Ganglion")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {"city": "Accra"}),
        ({"properties": {"days": {"type": "integer"}}}, {"days": 1}),
        ({"type": "array", "items": {"enum": ["c", "f"]}}, ["c"]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": ["string", "null"]}, "Accra"),
        ({"const": 7}, 7),
        ("nonsense", {}),
    ],
)
def test_a_sample_fits_its_schema(schema: object, value: Any) -> None:
    assert answers.sample(schema, "Accra") == value


def test_a_schema_without_an_end_has_a_sample() -> None:
    endless: dict[str, Any] = {"type": "array"}
    endless["items"] = endless
    assert answers.sample(endless, "x")


def test_json_is_json() -> None:
    assert json.loads(answers.write_json("Hi", None, LONG).text)["stand_in"] == "ganglion"
