"""The request body: what is read of it and the few bytes that are changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import body, routes
from inference.routes import CHAT
from kernel.errors import Malformed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
OURS = {"model", "stream", "stream_options", "n", "best_of", "prompt", "input", "cache_salt"}
TOKENS = {"max_tokens", "max_completion_tokens"}


def sent(raw: bytes, model: str = "", salt: str = "") -> dict[str, Any]:
    content, _ = body.upstream(body.read(raw, CHAT), raw, CHAT, model=model, cache_salt=salt)
    out: dict[str, Any] = json.loads(content)
    return out


@pytest.mark.feature("A1")
@given(st.dictionaries(st.text(max_size=10), JSON, max_size=6))
def test_unknown_parameters_pass_untouched(extra: dict[str, Any]) -> None:
    known = {*OURS, *TOKENS, *body.STRIPPED}
    fields = {name: value for name, value in extra.items() if name not in known}
    assert sent(json.dumps({"model": "m", **fields}).encode()) == {"model": "m", **fields}


def test_values_keep_their_very_bytes() -> None:
    raw = b'{"model" : "m" , "x": [1.0,  2e5, "\\u00e9"], "y":{"b":1,"a" :2}}'
    out, _ = body.upstream(body.read(raw, CHAT), raw, CHAT, model="other", cache_salt="")
    assert b'[1.0,  2e5, "\\u00e9"]' in out
    assert b'{"b":1,"a" :2}' in out


@pytest.mark.feature("A15")
@pytest.mark.parametrize("name", body.STRIPPED)
def test_privileged_parameters_do_not_reach_the_worker(name: str) -> None:
    assert name not in sent(json.dumps({"model": "m", name: 1}).encode())
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    assert name not in sent(b'{"model":"m","%b":1}' % escaped.encode())


@pytest.mark.feature("A15")
def test_the_cache_salt_is_ours_not_the_clients() -> None:
    raw = b'{"model":"m","cache_salt":"theirs","cache_salt":"again"}'
    assert sent(raw, salt="ours")["cache_salt"] == "ours"


def test_a_name_given_twice_reaches_the_worker_once() -> None:
    raw = b'{"model":"a","stream":true,"model":"b"}'
    assert b'"a"' not in body.upstream(body.read(raw, CHAT), raw, CHAT, model="c", cache_salt="")[0]


UNKNOWN = st.text(max_size=4).map("x-".__add__)  # names that mean nothing here


@given(st.dictionaries(UNKNOWN, st.text(max_size=4) | st.none(), max_size=3))
def test_what_a_stream_asks_for_beside_usage_travels_as_it_came(more: dict[str, object]) -> None:
    raw = json.dumps({"model": "m", **more, "stream": True}, indent=1).encode() + b" \n"
    content, asked = body.upstream(body.read(raw, CHAT), raw, CHAT, model="m", cache_salt="")
    assert (content.startswith(raw[:-4]), asked) == (True, False)
    usage = {"stream_options": {"include_usage": True}}
    assert json.loads(content) == {**json.loads(raw), **usage}


def test_a_body_that_needs_no_change_travels_as_it_came() -> None:
    raw = b' {"model" : "m","messages":[ ],"n": 2}'
    assert body.upstream(body.read(raw, CHAT), raw, CHAT, model="m", cache_salt="") == (raw, False)


def test_the_model_is_renamed_to_what_the_worker_serves() -> None:
    assert sent(b'{"model":"mine"}', model="org/real")["model"] == "org/real"


@pytest.mark.feature("A10")
@pytest.mark.parametrize(
    ("options", "asked", "upstream"),
    [
        (None, False, {"include_usage": True}),
        ({}, False, {"include_usage": True}),
        ({"include_usage": False}, False, {"include_usage": True}),
        ({"include_usage": True}, True, {"include_usage": True}),
        ({"x": 1, "continuous_usage_stats": True}, False, {"x": 1, "include_usage": True}),
        (
            {"include_usage": True, "continuous_usage_stats": True},
            True,
            {"include_usage": True, "continuous_usage_stats": True},
        ),
    ],
)
def test_usage_is_always_asked_for(
    options: object, asked: bool, upstream: dict[str, object]
) -> None:
    raw = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    content, told = body.upstream(body.read(raw, CHAT), raw, CHAT, model="", cache_salt="")
    assert told is asked
    assert json.loads(content)["stream_options"] == upstream


def test_a_plain_request_gets_no_stream_options() -> None:
    assert "stream_options" not in sent(b'{"model":"m","stream":false}')


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"x"', None),
        (b"\xff", None),
        (b'{"model":NaN}', None),
        (b'{"x":' + b"[" * 100_000, None),
        (b"{}", "model"),
        (b'{"model":null}', "model"),
        (b'{"model":5}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
        (b'{"model":"m","stream":true,"stream_options":[]}', "stream_options"),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":3}}', "stream_options"),
        (b'{"model":"m","max_tokens":"9"}', "max_tokens"),
        (b'{"model":"m","max_tokens":-1}', "max_tokens"),
        (b'{"model":"m","n":-1}', "n"),
        (b'{"stream":"yes","model":5}', "model"),
        (b'{"model":"m","n":2000}', "n"),
        (b'{"model":"m","n":1.5}', "n"),
    ],
)
def test_a_bad_body_is_refused_and_the_parameter_named(raw: bytes, param: str | None) -> None:
    with pytest.raises(Malformed) as caught:
        body.read(raw, CHAT).weight(())
    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("path", "fields", "weight"),
    [
        ("chat/completions", {}, 1),
        ("chat/completions", {"n": 3}, 3),
        ("chat/completions", {"n": None}, 1),
        ("chat/completions", {"prompt": ["x", "y"]}, 1),
        ("completions", {"n": 2, "best_of": 4}, 4),
        ("completions", {"prompt": "x"}, 1),
        ("completions", {"prompt": ["x", "y"]}, 2),
        ("completions", {"prompt": [1, 2, 3]}, 1),
        ("completions", {"prompt": [[1], [2]], "n": 3}, 6),
        ("completions", {"prompt": []}, 1),
        ("embeddings", {"input": ["x"] * 5}, 5),
        ("embeddings", {"input": ["x"] * 5000}, body.WEIGHT_MAX),
        ("responses", {"input": [{"role": "user"}, {"role": "user"}]}, 1),
        ("messages", {"messages": [{}, {}]}, 1),
        ("rerank", {"query": "q", "documents": ["a", "b", "c"]}, 3),
        ("score", {"text_1": "q", "text_2": ["a", "b"]}, 2),
        ("images/generations", {"prompt": "x", "n": 4}, 4),
        ("audio/speech", {"input": "x"}, 1),
    ],
)
def test_the_weight_is_the_number_of_sequences(
    path: str, fields: dict[str, object], weight: int
) -> None:
    route = routes.find(f"/v1/{path}".encode())
    assert route is not None
    raw = json.dumps({"model": "m", **fields}).encode()
    assert body.read(raw, route).weight(route.many) == weight


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": False, "previous_response_id": None, "store": True}, None),
    ],
)
def test_what_would_be_kept_between_requests_is_refused(
    fields: dict[str, object], param: str | None
) -> None:
    route = routes.find(b"/v1/responses")
    assert route is not None
    raw = json.dumps({"model": "m", "input": "hi", "stream": True, **fields}).encode()
    if param is None:
        ask = body.read(raw, route)
        assert body.upstream(ask, raw, route, model="", cache_salt="") == (raw, False)
        return
    with pytest.raises(Malformed) as caught:
        body.read(raw, route)
    assert caught.value.param == param
