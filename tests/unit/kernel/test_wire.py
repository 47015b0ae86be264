"""Wire messages: round trips, refusals, signatures, digests."""

from __future__ import annotations

import json
from functools import cache
from types import ModuleType
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel import wire
from kernel.errors import Malformed
from kernel.wire import agent, gateway, keys, minutes
from kernel.wire.digest import snapshot_digest
from tests.support.cases import cases


def _messages_of(*modules: ModuleType) -> list[type[msgspec.Struct]]:
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind is not msgspec.Struct
    ]


MESSAGES = _messages_of(agent, gateway)
OF_AGENTS = _messages_of(agent, keys, minutes)  # in both directions
FROM_OUTSIDE = [k for k in MESSAGES if k.__struct_config__.forbid_unknown_fields]


@cache
def _strategy(hint: Any, meta: msgspec.Meta | None = None) -> st.SearchStrategy[Any]:
    """Values of a field's type, within its limits."""
    base = getattr(hint, "__origin__", None)
    if getattr(hint, "__metadata__", None):
        limits = next(m for m in hint.__metadata__ if isinstance(m, msgspec.Meta))
        return _strategy(get_args(hint)[0], limits)
    if hint is int:
        low, high = (meta.ge, meta.le) if meta else (None, None)
        return st.integers(-(2**53) if low is None else low, 2**53 if high is None else high)
    if hint is str:
        low = meta.min_length or 0 if meta else 0
        high = min(meta.max_length or 50, 200) if meta else 50
        return st.text("abc é\n", min_size=low, max_size=max(low, high))
    if hint is bool:
        return st.booleans()
    if hint is float:
        low, high = (meta.ge, meta.le) if meta else (None, None)
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if hint is bytes:
        return st.binary(max_size=50)
    if base is list:
        return st.lists(_strategy(get_args(hint)[0]), max_size=3)
    if base is dict:
        key, value = get_args(hint)
        keys = st.integers(0, 2**31) if key is int else st.text("ab", max_size=5)
        return st.dictionaries(keys, _strategy(value), max_size=3)
    if base is tuple:
        return st.tuples(*(_strategy(part) for part in get_args(hint)))
    if hint is type(None):
        return st.none()
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return messages(hint)
    if isinstance(hint, type):
        return st.sampled_from(list(hint))  # an enum
    return st.one_of(*(_strategy(part, meta) for part in get_args(hint)))


@cache
def messages(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field: _strategy(hint) for field, hint in hints.items()})


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda k: k.__name__)
@settings(max_examples=cases(30), deadline=None)
@given(draw=st.data())
def test_a_message_survives_a_round_trip(kind: type[msgspec.Struct], draw: st.DataObject) -> None:
    message = draw.draw(messages(kind))
    assert wire.decode(wire.encode(message), kind) == message


@pytest.mark.parametrize("kind", FROM_OUTSIDE, ids=lambda k: k.__name__)
def test_an_unknown_field_is_refused(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(Malformed, match=kind.__name__):
        wire.decode(b'{"surprise": 1}', kind)


@pytest.mark.feature("C3")
@pytest.mark.parametrize("kind", OF_AGENTS, ids=lambda k: k.__name__)
@settings(max_examples=cases(30), deadline=None)
@given(draw=st.data())
def test_an_agent_and_a_brain_of_different_ages_understand_each_other(
    kind: type[msgspec.Struct], draw: st.DataObject
) -> None:
    """Whatever the other's message holds beside what is known here, at any depth, is ignored."""
    message = draw.draw(messages(kind))
    newer = grown(json.loads(wire.encode(message)), kind)
    assert wire.decode(json.dumps(newer).encode(), kind) == message


@pytest.mark.parametrize("kind", OF_AGENTS, ids=lambda k: k.__name__)
def test_an_agents_message_without_a_field_that_it_needs_is_refused(
    kind: type[msgspec.Struct],
) -> None:
    body = b"[]" if kind.__struct_config__.array_like else b'{"of_the_future": 1}'
    if any(field.required for field in msgspec.structs.fields(kind)):
        with pytest.raises(Malformed, match=r"missing required|of at least length"):
            wire.decode(body, kind)


def grown(value: Any, hint: Any) -> Any:
    """``value`` of a message of ``hint`` as a later version of it would send it: each message in
    it has one more field, each that is an array one more place."""
    if getattr(hint, "__metadata__", None):
        return grown(value, get_args(hint)[0])
    base, parts = getattr(hint, "__origin__", None), get_args(hint)
    if base is list:
        return [grown(one, parts[0]) for one in value]
    if value is not None and type(None) in parts:
        return grown(value, next(part for part in parts if part is not type(None)))
    if not (value is not None and isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        return value
    hints = get_type_hints(hint, include_extras=True)
    if hint.__struct_config__.array_like:
        places = zip(value, hints.values(), strict=True)
        return [*(grown(one, kind) for one, kind in places), {"of_the_future": 1}]
    known = {name: grown(one, hints[name]) for name, one in value.items()}
    return {"of_the_future": {"deep": [1]}, **known}


@given(st.binary(max_size=200))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode(data, agent.Beat)


def test_a_mac_covers_method_path_sequence_and_body() -> None:
    calls = [
        ("POST", "/agent/v1/beat", 1, b"x"),
        ("GET", "/agent/v1/beat", 1, b"x"),
        ("POST", "/agent/v1/logs", 1, b"x"),
        ("POST", "/agent/v1/beat", 2, b"x"),
        ("POST", "/agent/v1/beat", 1, b"y"),
    ]
    macs = {agent.mac(b"k" * 32, *call) for call in calls}
    assert len(macs) == len(calls)
    assert agent.mac(b"z" * 32, *calls[0]) not in macs


@pytest.mark.feature("G1")
def test_the_same_piece_of_a_request_always_has_the_same_key() -> None:
    first = gateway.segment_key("req_1", 0, 0)
    assert first == gateway.segment_key("req_1", 0, 0)
    others = {gateway.segment_key("req_1", 0, 1), gateway.segment_key("req_1", 1, 0)}
    assert first not in others


def test_a_digest_does_not_depend_on_row_order_but_on_every_field() -> None:
    rows = [gateway.AccountRow(account_id=a) for a in ("a", "b")]
    digest = snapshot_digest(gateway.Snapshot(accounts=rows))
    assert digest == snapshot_digest(gateway.Snapshot(accounts=rows[::-1]))
    rows[0].stopped = True
    assert digest != snapshot_digest(gateway.Snapshot(accounts=rows))
