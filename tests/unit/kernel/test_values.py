"""Ids, clocks, state machines and errors."""

from __future__ import annotations

import asyncio
from datetime import UTC
from enum import StrEnum
from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import errors, ids
from kernel.clock import ManualClock, SystemClock
from kernel.machine import Machine

KINDS = [
    k for k in vars(ids).values() if isinstance(k, type) and issubclass(k, ids.Id) and k.prefix
]


def subclasses(kind: type[errors.GanglionError]) -> list[type[errors.GanglionError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in subclasses(child))]


def test_every_id_kind_has_its_own_prefix() -> None:
    assert len({kind.prefix for kind in KINDS}) == len(KINDS) >= 15


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_survives_a_round_trip(kind: type[ids.Id]) -> None:
    fresh = ids.SystemIds(SystemClock()).new(kind)
    assert kind.parse(str(fresh)) == fresh
    assert fresh.uuid.version == 7


@pytest.mark.parametrize(
    "text",
    ["", "pod_", "pod_xyz", "lease_" + "0" * 32, "pod_" + "A" * 32, None, 7, "pod_" + "0" * 33],
)
def test_what_is_no_pod_id_is_refused(text: object) -> None:
    with pytest.raises(errors.BadInput, match="pod_"):
        ids.PodId.parse(text)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
def test_uuid7_is_a_valid_uuid(unix_ms: int, chance: int) -> None:
    made = ids.uuid7(unix_ms, chance)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == unix_ms


def test_ids_sort_by_birth() -> None:
    clock = ManualClock()
    source = ids.SeededIds(clock, seed=1)
    made = []
    for _ in range(50):
        made.append(source.new(ids.PodId))
        clock.advance(0.001)
    assert made == sorted(made)


def test_the_same_seed_gives_the_same_ids() -> None:
    first, second = (ids.SeededIds(ManualClock(), seed=7).new(ids.PodId) for _ in range(2))
    assert first == second


async def test_a_manual_clock_wakes_sleepers_in_order() -> None:
    clock, woken = ManualClock(), list[str]()

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(nap("late", 2)), asyncio.create_task(nap("early", 1))]
    while len(clock._sleepers) < 2:
        await asyncio.wait(tasks, timeout=0)
    clock.advance(5)
    await asyncio.gather(*tasks)
    assert woken == ["early", "late"]


def test_a_wall_clock_jump_leaves_durations_alone() -> None:
    clock = ManualClock()
    clock.set_wall(0)
    clock.advance(1)
    assert (clock.now_ns(), clock.monotonic_ns()) == (10**9, 10**9)
    assert clock.now().tzinfo is UTC


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    BROKEN = "broken"


class Push(StrEnum):
    GO = "go"
    STOP = "stop"
    FALL = "fall"


LIGHT = Machine(
    "light",
    Light.RED,
    {
        (Light.RED, Push.GO): Light.GREEN,
        (Light.GREEN, Push.STOP): Light.RED,
        (Light.GREEN, Push.FALL): Light.BROKEN,
    },
)


def test_a_listed_move_is_taken_and_an_unlisted_one_refused() -> None:
    assert LIGHT.next(Light.RED, Push.GO) is Light.GREEN
    assert LIGHT.can(Light.RED, Push.GO)
    with pytest.raises(errors.Conflict, match="A light that is red cannot fall"):
        LIGHT.next(Light.RED, Push.FALL)


def test_a_machine_knows_what_it_reaches_and_where_it_ends() -> None:
    assert LIGHT.reachable() == frozenset(Light)
    assert LIGHT.terminal() == {Light.BROKEN}


OURS = subclasses(errors.GanglionError)
ERRORS = [kind for kind in OURS if kind.__module__ == "kernel.errors"]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.feature("A9")
def test_both_renderings_show_the_detail_and_hide_the_internal(
    kind: type[errors.GanglionError],
) -> None:
    error = kind("Say this.", internal="canary-secret", retry_after=3)
    shown = repr(errors.problem(error, request_id="req_1")) + repr(errors.openai_error(error))
    assert "Say this." in shown
    assert "canary-secret" not in shown
    assert 400 <= kind.status < 600


@pytest.mark.feature("A9")
def test_out_of_credit_is_a_402_that_clients_do_not_retry() -> None:
    body = errors.openai_error(errors.OutOfCredit("Top up."))
    assert errors.OutOfCredit.status == 402
    assert body["error"]["code"] == "insufficient_quota"
    assert not errors.OutOfCredit.retryable
