"""Sentences for what a request got wrong."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from brain.edge import Body, Line, Name
from brain.edge.problems import explain, render
from kernel.errors import BadInput, LimitReached, Unauthenticated


class Order(Body):
    name: Name
    note: Line | None = None
    count: int


def _explained(body: object) -> BadInput:
    try:
        TypeAdapter(Order).validate_python(body)
    except ValidationError as error:
        return explain([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
    raise AssertionError("the body was fine")


def test_a_missing_field() -> None:
    assert _explained({"name": "x"}).detail == "count: this field is needed."


def test_an_unknown_field() -> None:
    told = _explained({"name": "x", "count": 1, "colour": "red"})
    assert (told.detail, told.param) == ("colour: there is no such field.", "colour")


def test_several_faults_are_counted_and_listed() -> None:
    told = _explained({"name": "", "count": "many"})
    assert told.detail.endswith("(and 1 more).")
    assert [one["field"] for one in told.extra["errors"]] == ["name", "count"]


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_any_unknown_fields_can_be_rendered(fields: dict[str, str]) -> None:
    answer = render(_explained(fields), rid="r")
    assert json.loads(bytes(answer.body))["status"] == 422


def test_values_are_never_shown() -> None:
    assert "s3cret" not in str(vars(_explained({"name": {"s3cret": 1}, "count": "s3cret"})))


def test_headers_that_clients_act_on() -> None:
    assert render(LimitReached("wait", retry_after=7), rid=None).headers["retry-after"] == "7"
    assert render(Unauthenticated("who"), rid=None).headers["www-authenticate"] == "Bearer"
