"""What clients with a key are told: statuses and codes that programs act on."""

from __future__ import annotations

import pytest

from inference.errors import answer_of
from inference.idempotency import words
from inference.idempotency.original import fingerprint
from kernel.errors import GanglionError
from kernel.wire.replays import KEY_BYTES_MAX, valid_key


@pytest.mark.feature("A13")
@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (words.bad_key(), 400, False),
        (words.other_input(), 422, False),
        (words.still_running("req_1"), 409, True),
        (words.not_kept("req_1"), 409, False),
        (words.unknown("req_1"), 409, True),
        (words.brain_away(), 503, True),
        (words.too_many(), 429, True),
    ],
)
def test_each_says_whether_to_send_it_again(error: GanglionError, status: int, again: bool) -> None:
    head = answer_of(error, "req_2", close=False)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (b"x-should-retry: true" in head) is again
    assert (b"retry-after" in head) is again


@pytest.mark.parametrize("error", [words.still_running, words.not_kept, words.unknown])
def test_a_conflict_names_the_first_request(error: object) -> None:
    assert callable(error)
    assert b"req_first" in answer_of(error("req_first"), "req_2", close=False)


def test_keys_are_visible_ascii_of_a_length() -> None:
    assert valid_key(b"~" * KEY_BYTES_MAX)
    assert not any(map(valid_key, (b"", b" ", b"a b", b"\x7f", b"\xc3\xbc", b"a\n", b"x" * 201)))


def test_a_forms_boundary_is_no_part_of_its_input() -> None:
    first = b"--aa\r\nx: 1\r\n\r\nsound\r\n--aa--\r\n"
    assert fingerprint("t", first) == fingerprint("t", first.replace(b"aa", b"bb"))
    assert fingerprint("t", first) != fingerprint("t", first.replace(b"sound", b"other"))
    assert fingerprint("t", first) != fingerprint("u", first)
