"""Session ids carry the session; sequence numbers are used once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.fleet.session import WINDOW, Sequence, new_session, read_session, session_secret
from kernel.errors import Unauthenticated
from kernel.ids import NodeId

NODE = NodeId("node_" + "0" * 32)


@pytest.mark.feature("C2")
@given(start=st.text(max_size=60), boot=st.text(max_size=60), now=st.integers(0, 2**62))
def test_a_session_is_read_back_from_its_id(start: str, boot: str, now: int) -> None:
    start, boot = (text.encode("utf-8", "replace").decode() for text in (start, boot))
    made = new_session(b"k", node_id=NODE, agent_start_id=start, host_boot_id=boot, now_ns=now)
    assert read_session(b"k", made.session_id) == made


def test_the_key_depends_on_the_secret_and_on_every_letter_of_the_id() -> None:
    made = new_session(b"k", node_id=NODE, agent_start_id="s", host_boot_id="b", now_ns=0)
    assert read_session(b"other", made.session_id).key != made.key
    assert read_session(b"k", made.session_id + "=").key != made.key


def test_master_keys_give_secrets_of_their_own() -> None:
    assert session_secret(b"a" * 32) != session_secret(b"b" * 32)


@given(st.text(max_size=200))
def test_text_that_is_no_session_is_refused_or_has_another_key(text: str) -> None:
    try:
        found = read_session(b"k", text)
    except Unauthenticated:
        return
    assert found.session_id == text


@given(st.lists(st.integers(-5, 300), max_size=200), st.integers(0, 100))
def test_no_number_is_taken_twice(numbers: list[int], start: int) -> None:
    sequence = Sequence(start)
    taken = [number for number in numbers if sequence.take(number)]
    assert len(taken) == len(set(taken))
    assert all(number > start for number in taken)


@given(st.permutations(list(range(101, 101 + WINDOW))))
def test_calls_may_overtake_each_other_within_the_window(numbers: list[int]) -> None:
    sequence = Sequence(100)
    assert all(sequence.take(number) for number in numbers)


def test_a_huge_step_costs_nothing() -> None:
    sequence = Sequence(1)
    assert sequence.take(2**53)
    assert not sequence.take(2**53)
    assert sequence.take(2**53 - 1)
    assert not sequence.take(2)
