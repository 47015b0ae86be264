"""The request of a link: who may open one, and what opens nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Malformed, Unauthenticated
from kernel.wire import links
from kernel.wire.links import (
    Drain,
    Fate,
    Lines,
    LinkRequest,
    Need,
    Numbers,
    Refuse,
    Tells,
)

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
LINK = LinkRequest("lease_1", 7, links.WORKER, "boot_1", 5)
PORTS = st.sampled_from([links.WORKER, links.EXEC, links.CONTROL]) | st.integers(1, 65535)
LINKS = st.builds(
    LinkRequest,
    lease_id=st.from_regex(r"\Alease_[0-9a-f]{4,32}\Z"),
    epoch=st.integers(0, 2**53),
    port=PORTS,
    gateway=st.from_regex(r"\Aboot_[0-9a-f]{4,32}\Z"),
    number=st.integers(0, links.NUMBER_MAX),
)


def asked_of(link: LinkRequest, key: bytes = KEY) -> links.Asked:
    return links.read_request(links.request_head(link, key, "gateway.example:443"))


@given(link=LINKS)
def test_a_request_is_read_as_it_was_written_and_proves_the_key(link: LinkRequest) -> None:
    asked = asked_of(link)
    assert asked.link == link
    links.check(asked, KEY)
    links.check_answer(links.accept_head(link, KEY), link, KEY)


def test_another_leases_key_proves_nothing() -> None:
    with pytest.raises(Unauthenticated):
        links.check(asked_of(LINK, OTHER_KEY), KEY)
    with pytest.raises(Unauthenticated):
        links.check_answer(links.accept_head(LINK, OTHER_KEY), LINK, KEY)


@pytest.mark.parametrize(
    "forged",
    [
        replace(LINK, lease_id="lease_2"),
        replace(LINK, epoch=8),
        replace(LINK, port=links.EXEC),
        replace(LINK, gateway="boot_2"),
        replace(LINK, number=6),
    ],
)
def test_a_recorded_mac_proves_nothing_else(forged: LinkRequest) -> None:
    recorded = asked_of(LINK)
    with pytest.raises(Unauthenticated):
        links.check(replace(recorded, link=forged), KEY)


def test_a_request_proves_no_answer_and_an_answer_no_request() -> None:
    mac = links.accept_head(LINK, KEY).split(b"Mac: ")[1][:64].decode()
    with pytest.raises(Unauthenticated):
        links.check(links.Asked(LINK, mac), KEY)


def test_a_refusal_is_no_answer() -> None:
    with pytest.raises(Unauthenticated, match="409"):
        links.check_answer(links.refuse_head(409, "It is over."), LINK, KEY)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        links.request_head(LINK, KEY, "h").replace(b"worker-link", b"websocket"),
        links.request_head(LINK, KEY, "h").replace(b"Epoch: 7", b"Epoch: -7"),
        links.request_head(LINK, KEY, "h").replace(b"Epoch: 7", b"Epoch: 7\r\nX-Ganglion-Epoch: 8"),
        links.request_head(LINK, KEY, "h").replace(b"Epoch: 7", b"Epoch: \xc2\xb2"),
        links.request_head(LINK, KEY, "h").replace(b"Port: worker", b"Port: 65536"),
        links.request_head(LINK, KEY, "h").replace(b"Port: worker", b"Port: elsewhere"),
        links.request_head(LINK, KEY, "h").replace(b"lease_1", b"lease\x001"),
        links.request_head(LINK, KEY, "h").replace(b"lease_1", b"lease_" + b"1" * 200),
        links.request_head(LINK, KEY, "h" * links.HEAD_BYTES_MAX),
    ],
)
def test_what_is_no_request_of_a_link_is_malformed(head: bytes) -> None:
    with pytest.raises(Malformed):
        links.read_request(head)


def test_a_proxy_may_add_headers_of_its_own() -> None:
    head = links.request_head(LINK, KEY, "h")
    with_more = head.replace(b"\r\nUpgrade", b"\r\nX-Forwarded-For: 10.0.0.1\r\nupgrade")
    links.check(links.read_request(with_more), KEY)


@given(seed=st.integers(0, 2**32))
def test_every_number_counts_once_whatever_the_order(seed: int) -> None:
    chance = Random(seed)
    start = chance.randrange(1, links.NUMBER_MAX - links.WINDOW)
    numbers = list(range(start, start + links.WINDOW))
    chance.shuffle(numbers)
    seen = Numbers()
    assert all(seen.take(number) for number in numbers)
    assert not any(seen.take(number) for number in numbers)


def test_a_number_far_below_the_highest_is_old() -> None:
    seen = Numbers()
    assert seen.take(10**18)
    assert not seen.take(10**18 - links.WINDOW)
    assert not seen.take(0)
    assert seen.take(10**18 + 10**12)  # the agent was started anew
    assert not seen.take(10**18 + 1)


@given(
    said=st.lists(
        st.builds(Need, st.integers(1, links.NEED_MAX), PORTS)
        | st.builds(Refuse, st.integers(1, links.NEED_MAX), PORTS, st.just("no such port"))
        | st.builds(Fate, st.integers(0, links.NUMBER_MAX), st.booleans())
        | st.sampled_from([Drain(), Tells()]),
        max_size=20,
    ),
    cuts=st.lists(st.integers(0, 500), max_size=10),
)
def test_lines_are_the_same_however_they_are_cut(said: list[links.Line], cuts: list[int]) -> None:
    content = b"".join(links.write_line(line) for line in said)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    lines = Lines()
    found: list[links.Line] = []
    for start, end in pairwise(places):
        found += lines.take(content[start:end])
    assert found == said


@pytest.mark.parametrize(
    "line", [b"need 0 port worker\n", b"need 1025 port 80\n", b"need x port 80\n", b"x" * 600]
)
def test_lines_that_are_wrong_or_too_long_are_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        list(Lines().take(line))


def test_words_of_a_later_version_are_skipped() -> None:
    assert list(Lines().take(b"sing loudly\ndrain\n")) == [Drain()]


def test_a_reason_stays_in_its_line() -> None:
    said = Refuse(1, 80, "two\nlines  " + "x" * 500)
    [found] = Lines().take(links.write_line(said))
    assert isinstance(found, Refuse)
    assert found.reason.startswith("two lines")
