"""Reads what Stripe's clients send: bracket-nested forms, each field once, none unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from standins.payments.stripe.refusals import invalid, required

FIELDS_MAX = 1000
DEPTH_MAX = 8
TEXT_MAX = 5000
KEYS_MAX = 50  # of metadata
KEY_MAX, VALUE_MAX = 40, 500
PART = re.compile(r"\[([^\[\]]*)\]")


def parse(form: str) -> dict[str, Any]:
    """``a[b]=1&c[0]=2&d[]=3`` as ``{"a": {"b": "1"}, "c": ["2"], "d": ["3"]}``."""
    pairs = parse_qsl(form, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    root: dict[str, Any] = {}
    for name, value in pairs:
        head, _, _ = name.partition("[")
        places = [head, *PART.findall(name)]
        if len(places) > DEPTH_MAX:
            raise invalid(f"Invalid request: {head} is nested too deep.", head)
        _put(root, places, value)
    return {name: _listed(value) for name, value in root.items()}


def _put(root: dict[str, Any], places: list[str], value: str) -> None:
    at = root
    for place in places[:-1]:
        below = at.setdefault(place or str(len(at)), {})
        if not isinstance(below, dict):
            raise invalid("Invalid request: a parameter is both a value and a hash.", places[0])
        at = below
    at[places[-1] or str(len(at))] = value


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(one) for name, one in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


class Params:
    """The parameters of one call. Read them all, then ``done()``: what nobody read is unknown.

    A field that is absent is None; one that is sent empty is "" and unsets.
    """

    def __init__(self, given: dict[str, Any], inside: str = "") -> None:
        self._given = given
        self._inside = inside
        self._read: set[str] = set()
        self._children: list[Params] = []

    def name(self, field: str) -> str:
        return f"{self._inside}[{field}]" if self._inside else field

    def has(self, field: str) -> bool:
        return field in self._given

    def any(self, field: str) -> Any:
        """As it came; for what is kept without being understood."""
        self._read.add(field)
        return self._given.get(field)

    def text(self, field: str, *, most: int = TEXT_MAX) -> str | None:
        value = self.any(field)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {value}", self.name(field))
        if len(value) > most:
            words = f"Invalid string: {value[:20]}...; must be at most {most} characters"
            raise invalid(words, self.name(field), "parameter_invalid_string")
        return value

    def must(self, field: str) -> str:
        value = self.text(field)
        if value is None:
            raise required(self.name(field))
        if value == "":
            words = (
                f"You passed an empty string for '{self.name(field)}'. We assume empty values are "
                "an attempt to unset a parameter; however it cannot be unset."
            )
            raise invalid(words, self.name(field), "parameter_invalid_empty")
        return value

    def integer(self, field: str, *, least: int | None = None) -> int | None:
        value = self.text(field)
        if not value:
            return None
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise invalid(
                f"Invalid integer: {value}", self.name(field), "parameter_invalid_integer"
            )
        if least is not None and int(value) < least:
            words = f"This value must be greater than or equal to {least}."
            raise invalid(words, self.name(field), "parameter_invalid_integer")
        return int(value)

    def must_integer(self, field: str, *, least: int | None = None) -> int:
        value = self.integer(field, least=least)
        if value is None:
            raise required(self.name(field))
        return value

    def flag(self, field: str) -> bool | None:
        value = self.text(field)
        if not value:
            return None
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", self.name(field))
        return value == "true"

    def one_of(self, field: str, choices: Iterable[str]) -> str | None:
        value = self.text(field)
        known = list(choices)
        if value and value not in known:
            words = f"Invalid {self.name(field)}: must be one of {', '.join(known)}"
            raise invalid(words, self.name(field))
        return value or None

    def child(self, field: str) -> Params:
        value = self.any(field)
        if value in (None, ""):
            value = {}
        if not isinstance(value, dict):
            raise invalid("Invalid object", self.name(field))
        inner = Params(value, self.name(field))
        self._children.append(inner)
        return inner

    def children(self, field: str) -> Iterator[Params]:
        value = self.any(field) or []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise invalid("Invalid array", self.name(field))
        for number, one in enumerate(value):
            inner = Params(one, f"{self.name(field)}[{number}]")
            self._children.append(inner)
            yield inner

    def texts(self, field: str) -> list[str] | None:
        value = self.any(field)
        if value is None:
            return None
        if not isinstance(value, list):
            raise invalid("Invalid array", self.name(field))
        return [str(one) for one in value]

    def metadata(self, before: dict[str, str] | None = None) -> dict[str, str]:
        """The metadata that result: what is sent is merged, an empty value takes a key out."""
        value = self.any("metadata")
        if value == "":
            return {}
        if value is not None and not isinstance(value, dict):
            raise invalid("Invalid object", self.name("metadata"))
        merged = {**(before or {}), **{str(k): str(v) for k, v in (value or {}).items()}}
        merged = {key: text for key, text in merged.items() if text != ""}
        if len(merged) > KEYS_MAX or any(
            len(key) > KEY_MAX or len(text) > VALUE_MAX for key, text in merged.items()
        ):
            raise invalid("Metadata: at most 50 keys of 40 characters, values of 500.", "metadata")
        return merged

    def ignore(self, *fields: str) -> None:
        """Real parameters of the call that change nothing here."""
        self._read.update(fields)

    def done(self) -> None:
        """Refuse what nobody read, as Stripe does, before anything is changed."""
        for field in self._given:
            if field not in self._read:
                name = self.name(field)
                words = f"Received unknown parameter: {name}"
                raise invalid(words, name, "parameter_unknown")
        for inner in self._children:
            inner.done()
