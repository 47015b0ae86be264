"""The load of the proof under kills: it repeats by its seed, and has every route."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from bench.truth_mix import SHARES, Ask, Caller, Mix
from inference.routes import Kind, find

CALLERS = [Caller("gk_pool", "a/model"), Caller("gk_own", "own")]
pytestmark = pytest.mark.feature("G5")


def asked(seed: int, number: int = 3000) -> list[Ask]:
    chance, mix = Random(seed), Mix(CALLERS)
    return [mix.one(chance) for _ in range(number)]


def test_the_same_seed_asks_the_same() -> None:
    assert asked(7) == asked(7)
    assert asked(7) != asked(8)


def test_each_kind_is_asked_and_chat_the_most() -> None:
    kinds = Counter(one.kind for one in asked(1))
    assert kinds.keys() == SHARES.keys()
    assert kinds["chat"] + kinds["chat stream"] > kinds.total() / 2


def test_each_is_a_whole_request_to_a_route_of_one_of_two_accounts() -> None:
    keys = Counter[bytes]()
    for one in asked(2):
        head, _, body = one.request.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        route = find(lines[0].split(b" ")[1])
        assert route is not None
        assert route.kind is Kind.INFERENCE
        assert b"content-length: %d" % len(body) in lines
        assert bool(one.end) == (b'"stream": true' in body)
        keys[next(line for line in lines if line.startswith(b"authorization"))] += 1
    assert len(keys) == 2


def test_some_bear_a_key_each_its_own_and_the_worker_is_told_it_as_the_trace() -> None:
    keyed = [one for one in asked(3) if one.mark]
    assert 0 < len(keyed) < 300
    assert len({one.mark for one in keyed}) == len(keyed)
    for one in keyed:
        assert b"idempotency-key: %b\r\n" % one.mark.encode() in one.request
        assert b"traceparent: 00-%b-" % one.mark.encode() in one.request
