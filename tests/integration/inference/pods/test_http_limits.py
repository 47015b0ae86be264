"""What is not there, what takes too long, who takes too much; and how the front stops."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from kernel.wire.gateway import ChangeLine, PodState
from tests.integration.inference.pods.conftest import Begin
from tests.support.gateway import numbered
from tests.support.pod_front import LINK_KEY, link_address, pod_row
from tests.support.pod_node import node_for
from tests.support.pod_server import client, head_of, mirror, next_head, request
from tests.support.raw_http import connect
from tests.support.wait import until

pytestmark = pytest.mark.feature("E3")


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("other-8000.localhost", 404, "pod_not_found"),
        ("mypod-9000.localhost", 404, "port_not_open"),
        ("nonsense.localhost", 404, "pod_not_found"),
        ("mypod-8000.elsewhere.org", 404, "unknown_url"),
        ("my pod", 400, "malformed"),
    ],
)
async def test_what_is_not_there_is_said(begin: Begin, host: str, status: int, code: str) -> None:
    world = await begin()
    async with connect(world.port) as raw:
        await raw.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = await raw.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)


async def test_a_stopped_pod_says_why(begin: Begin) -> None:
    world = await begin(mirror)
    stopped = pod_row(state=PodState.STOPPED, lease_id="", reason="Stopped by its owner.")
    world.brain.tell(ChangeLine(pod=stopped))
    async with client(world.front) as http:

        async def refused() -> httpx.Response | None:
            answer = await http.get("/", headers={"accept": "text/html"})
            return answer if answer.status_code == 503 else None

        page = await until(refused)
    assert page is not None
    assert "Stopped by its owner." in page.text
    assert page.headers["content-type"].startswith("text/html")


async def test_a_pod_that_moves_keeps_its_address(begin: Begin) -> None:
    world = await begin(mirror)
    lease = numbered("lease", 2)
    boot_id, url = link_address(world.brain)
    async with client(world.front) as http:
        assert (await http.get("/")).status_code == 200
        world.brain.tell(ChangeLine(pod=pod_row(lease_id=lease)))
        async with node_for(boot_id, url, lease, LINK_KEY, targets=world.node.targets) as second:

            async def over_there() -> bool:
                return (await http.get("/")).status_code == 200 and second.served == [8000]

            await until(over_there, 30)


async def test_a_port_without_a_server_is_502_and_a_silent_node_504(begin: Begin) -> None:
    world = await begin(pod_link_seconds_max=3)
    async with client(world.front) as http:
        nothing = await http.get("/")
        world.node.silent = True
        silent = await http.get("/")
    assert (nothing.status_code, nothing.json()["code"]) == (502, "pod_unreachable")
    assert (silent.status_code, silent.json()["code"]) == (504, "pod_silent")


async def test_a_pod_that_never_answers_is_given_up(begin: Begin) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    world = await begin(never, pod_first_byte_seconds_max=0.5)
    async with client(world.front) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.json()["code"]) == (504, "pod_silent")


async def test_a_slow_head_is_cut_off(begin: Begin) -> None:
    world = await begin(mirror, pod_head_seconds_max=0.5)
    async with connect(world.port) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: my")
        assert (await raw.answer()).status == 408


async def test_one_address_cannot_take_all_connections(begin: Begin) -> None:
    world = await begin(mirror, pod_connections_per_address_max=2)
    async with connect(world.port) as one, connect(world.port) as two:
        await one.send(request("GET / HTTP/1.1"))
        await two.send(request("GET / HTTP/1.1"))
        assert ((await one.answer()).status, (await two.answer()).status) == (200, 200)
        async with connect(world.port) as three:
            assert (await three.answer()).status == 429


async def test_one_pod_cannot_take_all_of_the_front(begin: Begin) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    world = await begin(never, pod_connections_per_pod_max=1)
    async with connect(world.port) as one, connect(world.port) as two:
        await one.send(request("GET / HTTP/1.1"))
        await until(lambda: world.node.served)
        await two.send(request("GET / HTTP/1.1"))
        assert (await two.answer()).status == 429


async def test_a_kept_link_that_was_closed_costs_a_get_nothing(begin: Begin) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await next_head(reader)  # closed as the second request arrives
        writer.transport.abort()

    world = await begin(once)
    async with client(world.front) as http:
        answers = [await http.get("/") for _ in range(3)]
    assert [answer.text for answer in answers] == ["ok", "ok", "ok"]


async def test_the_front_tells_of_itself_at_its_own_name(begin: Begin) -> None:
    world = await begin(mirror)
    base = f"http://127.0.0.1:{world.port}"
    async with httpx.AsyncClient(base_url=base) as http:
        live = await http.get("/health/live")
        await until(lambda: httpx.get(f"{base}/health/ready").status_code == 200)
        metrics = (await http.get("/metrics")).text
    assert live.json() == {"status": "live"}
    assert "ganglion_pods_known 1" in metrics


async def test_a_stop_lets_what_runs_end(begin: Begin) -> None:
    going = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await going.wait()
        writer.write(b"cd")

    world = await begin(slow)
    async with connect(world.port) as raw:
        await raw.send(request("GET / HTTP/1.1"))
        await raw.head()
        world.front.process.terminate()
        await until(lambda: _refuses(world.port), 20)
        going.set()
        assert await raw.reader.readexactly(4) == b"abcd"
    assert await asyncio.to_thread(world.front.process.wait, 30) == 0


async def _refuses(port: int) -> bool:
    try:
        async with connect(port):
            return False
    except ConnectionRefusedError:
        return True
