"""Where links come in: who gets in, what is bounded, who is served in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kernel.errors import Unavailable
from kernel.wire import links as wire
from tests.support.link_ends import BOOT, KEY, LEASE, LinkEnd, link_ends
from tests.support.wait import until

OTHER_KEY = b"o" * 32
SPARE = "need 2 port worker"  # the few that are to lie ready are asked for at any time


async def needed(control: LinkEnd) -> str:
    """What else the agent is told."""
    while (line := await control.line()) == SPARE:
        pass
    return line


@pytest.mark.feature("C2")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"key": OTHER_KEY}, 401),
        ({"epoch": 0}, 409),
        ({"epoch": 2}, 404),
        ({"lease_id": "lease_2"}, 404),
        ({"gateway": "boot_2"}, 409),
    ],
)
async def test_who_does_not_prove_the_lease_gets_no_link(
    fields: dict[str, Any], status: int
) -> None:
    async with link_ends() as ends:
        end = await ends.open(**fields)
        assert end.status == status
        await end.ended()
        assert ends.gauge("links") == 0


async def test_a_recorded_request_opens_nothing_again() -> None:
    async with link_ends() as ends:
        first = await ends.open()
        assert first.status == 101
        again = await ends.raw(wire.request_head(first.link, KEY, "gateway"))
        assert (await ends.answered(again)).status == 409
        ends.listener.forget(LEASE, 1)
        ends.listener.expect(LEASE, 1, KEY.hex())
        once_more = await ends.raw(wire.request_head(first.link, KEY, "gateway"))
        assert (await ends.answered(once_more)).status == 409


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * (wire.HEAD_BYTES_MAX + 1),
        wire.request_head(wire.LinkRequest(LEASE, 1, "worker", BOOT, 1), KEY, "x") + b"early",
    ],
)
async def test_what_is_no_request_is_refused_at_once(head: bytes) -> None:
    async with link_ends() as ends:
        assert (await ends.answered(await ends.raw(head))).status == 400
        await ends.shows("links_unverified", 0)


async def test_who_does_not_say_who_it_is_is_sent_away() -> None:
    async with link_ends(say_seconds_max=0.3) as ends:
        assert (await ends.answered(await ends.raw(b"GET /agent"))).status == 408
        await ends.shows("links_unverified", 0)


async def test_connections_that_prove_nothing_are_few() -> None:
    async with link_ends(unverified_max=3) as ends:
        silent = [await ends.raw(b"") for _ in range(3)]
        await ends.shows("links_unverified", 3)
        assert (await ends.open()).status == 503
        silent[0].writer.close()
        await ends.shows("links_unverified", 2)
        assert (await ends.open()).status == 101


async def test_one_address_has_so_many_connections() -> None:
    async with link_ends(address_max=2) as ends:
        first, second = await ends.open(), await ends.open()
        assert (first.status, second.status) == (101, 101)
        assert (await ends.open()).status == 503
        first.writer.close()
        await ends.shows("links", 1)
        assert (await ends.open()).status == 101


async def test_one_lease_has_so_many_links() -> None:
    async with link_ends(lease_max=2) as ends:
        first, _ = await ends.open(), await ends.open()
        assert (await ends.open()).status == 429
        first.writer.close()
        await ends.shows("links", 1)
        assert (await ends.open()).status == 101


async def test_a_control_link_waits_until_its_lease_is_known() -> None:
    async with link_ends(known=False) as ends:
        early = await ends.send(wire.CONTROL)
        assert (await ends.open()).status == 404
        await ends.shows("links_unverified", 1)
        ends.listener.expect(LEASE, 1, KEY.hex())
        assert (await ends.answered(early)).status == 101


async def test_a_lease_that_never_comes_is_not_waited_for_long() -> None:
    async with link_ends(known=False, known_seconds_max=0.3) as ends:
        assert (await ends.open(wire.CONTROL)).status == 404
        await ends.shows("links_unverified", 0)


@pytest.mark.feature("C2")
async def test_a_higher_epoch_ends_every_link_of_the_lower() -> None:
    async with link_ends() as ends:
        control, idle, used = [await ends.open(port) for port in (wire.CONTROL, 80, 81)]
        transport = await ends.listener.open(LEASE, 1, 81, 5)
        transport.write(b"in use")
        assert await used.read(6) == b"in use"
        ends.listener.expect(LEASE, 2, OTHER_KEY.hex())
        assert await control.ended()
        assert await idle.ended()
        assert await used.ended()
        assert (await ends.open()).status == 409
        assert (await ends.open(epoch=2)).status == 401
        assert (await ends.open(epoch=2, key=OTHER_KEY)).status == 101


async def test_a_lease_that_ended_keeps_what_is_in_use_alone() -> None:
    async with link_ends() as ends:
        idle, used = await ends.open(80), await ends.open(81)
        transport = await ends.listener.open(LEASE, 1, 81, 5)
        ends.listener.forget(LEASE, 1)
        assert await idle.ended()
        transport.write(b"on")
        assert await used.read(2) == b"on"
        assert (await ends.open()).status == 404


async def test_the_agent_is_asked_for_what_is_needed_and_serves_in_order() -> None:
    async with link_ends() as ends:
        control = await ends.open(wire.CONTROL)
        first = asyncio.ensure_future(ends.listener.open(LEASE, 1, 8888, 30))
        assert await needed(control) == "need 1 port 8888"
        second = asyncio.ensure_future(ends.listener.open(LEASE, 1, 8888, 30))
        assert await needed(control) in ("need 1 port 8888", "need 2 port 8888")
        one, other = await ends.open(8888), await ends.open(8888)
        (await first).write(b"1")
        (await second).write(b"2")
        assert await one.read(1) == b"1"
        assert await other.read(1) == b"2"


async def test_what_the_node_refuses_is_said_to_who_waits() -> None:
    async with link_ends() as ends:
        control = await ends.open(wire.CONTROL)
        waits = asyncio.ensure_future(ends.listener.open(LEASE, 1, 8888, 10))
        await needed(control)
        control.writer.write(wire.write_line(wire.Refuse(1, 8888, "the work has no port 8888")))
        with pytest.raises(Unavailable, match="no port 8888"):
            await waits


async def test_nobody_waits_longer_than_told() -> None:
    async with link_ends() as ends:
        await ends.open(wire.CONTROL)
        with pytest.raises(Unavailable, match="no link came in time"):
            await ends.listener.open(LEASE, 1, 8888, 0.3)
        with pytest.raises(Unavailable, match="does not run"):
            await ends.listener.open(LEASE, 7, 8888, 5)


async def test_who_gives_up_leaves_the_link_to_the_next() -> None:
    async with link_ends() as ends:
        await ends.open(wire.CONTROL)
        gone = asyncio.ensure_future(ends.listener.open(LEASE, 1, 8888, 10))
        await ends.shows("links_waiting", 1)
        gone.cancel()
        assert await until(lambda: gone.cancelled() and not ends.gauge("links_waiting"), 5)
        link = await ends.open(8888)
        (await ends.listener.open(LEASE, 1, 8888, 10)).write(b"x")
        assert await link.read(1) == b"x"


async def test_links_that_did_not_come_are_asked_for_again() -> None:
    async with link_ends() as ends:
        control = await ends.open(wire.CONTROL)
        waits = asyncio.ensure_future(ends.listener.open(LEASE, 1, 8888, 60))
        assert await needed(control) == "need 1 port 8888"
        assert await control.line() in (SPARE, "need 1 port 8888")
        anew = await ends.open(wire.CONTROL)  # the agent came back: it is asked anew
        assert await control.ended()
        assert await needed(anew) == "need 1 port 8888"
        await ends.open(8888)
        await waits


async def test_who_speaks_on_an_idle_link_loses_it() -> None:
    async with link_ends() as ends:
        link = await ends.open(80)
        link.writer.write(b"unasked")
        assert await link.ended()
        await ends.shows("links_idle", 0)


async def test_a_drain_is_told_and_takes_nothing_new() -> None:
    async with link_ends() as ends:
        control = await ends.open(wire.CONTROL)
        ends.listener.drain()
        assert await needed(control) == "drain"
        assert (await ends.open()).status == 503
