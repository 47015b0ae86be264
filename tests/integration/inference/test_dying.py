"""Ends of the process, kind and unkind: nothing that was served is lost or counted twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.brain_double import BrainDouble, brain_double
from tests.support.gateway import KEY, Gateway, StartGateway, launch, snapshot
from tests.support.scripted_worker import Script, answer, chunk, scripted_worker, stream_head
from tests.support.wait import free_port, stretch, until
from tests.unit.inference import sse

PLAIN = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
SEED = int(os.environ.get("GANGLION_TEST_SEED", "1"))


async def clients(gateway: Gateway, answered: list[str], count: int = 8) -> None:
    """Send plain requests until the gateway is gone; note the ids of whole answers."""

    async def one() -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            while True:
                url = f"{gateway.url}/v1/chat/completions"
                told = await client.post(url, content=b'{"model":"m"}')
                if told.status_code != 200:
                    return
                answered.append(told.headers["x-request-id"])

    await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


async def ready(gateway: Gateway) -> None:
    async def is_ready() -> bool:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{gateway.url}/health/ready")).status_code == 200

    await until(is_ready)


def settings(brain: BrainDouble, folder: Path) -> dict[str, object]:
    return {**brain.settings(), "gateway_spool_dir": folder / "spool"}


@pytest.mark.feature("G5", "A10")
async def test_killed_again_and_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    chance, answered = random.Random(SEED), list[str]()
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        for life in range(6):
            gateway = launch(tmp_path / f"life{life}", **settings(brain, tmp_path))
            await ready(gateway)
            load = asyncio.create_task(clients(gateway, answered))
            await stretch(chance.uniform(0.05, 0.6))  # the moment of death
            brain.fail_next = chance.randrange(2)
            gateway.kill()
            await load
        last = launch(tmp_path / "last", **settings(brain, tmp_path))
        await ready(last)
        await until(lambda: len(list((tmp_path / "spool").iterdir())) == 1, seconds=30)
        assert await asyncio.to_thread(last.stop) == 0
        assert list((tmp_path / "spool").iterdir()) == []
        whole = {one.request_id for one in brain.segments.values() if one.end is SegmentEnd.DONE}
        assert set(answered) <= whole, f"lost, seed {SEED}"
        cut_off = [one for one in brain.segments.values() if one.end is SegmentEnd.CUT]
        cut = {one.request_id for one in cut_off}
        assert not cut & whole
        # One that was sent as its gateway died may never have come: no time counts of it.
        timed = {one.request_id for one in cut_off if one.end_ns > one.start_ns}
        assert len(whole | timed) <= len(worker.requests)
        ends = [one for one in brain.segments.values() if one.end is not SegmentEnd.OPEN]
        assert len({*whole, *cut}) == len(ends)


async def test_a_stream_cut_by_a_kill_ends_where_it_was_last_seen(tmp_path: Path) -> None:
    slow: Script = [stream_head(), chunk(sse.HELLO), 60.0]
    async with scripted_worker(slow) as worker, brain_double(snapshot(worker.port)) as brain:
        gateway = launch(tmp_path / "a", **settings(brain, tmp_path))
        await ready(gateway)
        body = b'{"model":"m","stream":true}'
        url, headers = f"{gateway.url}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
        began_ns = time.monotonic_ns()
        async with httpx.AsyncClient(timeout=20) as client:
            stream = client.stream("POST", url, content=body, headers=headers)
            async with stream as response:
                parts = response.aiter_bytes()
                await anext(parts)
                await stretch(2.5)  # two ticks of a second pass
                gateway.kill()
        lasted_ns = time.monotonic_ns() - began_ns
        second = launch(tmp_path / "b", **settings(brain, tmp_path))
        await until(lambda: _ends(brain) == [SegmentEnd.CUT])
        pieces = brain.segments.values()  # a window's end may have cut it before
        resident_ns = sum(one.end_ns - one.start_ns for one in pieces)
        assert 1e9 < resident_ns < lasted_ns
        assert brain.batches[-1].closed_boots or any(one.closed_boots for one in brain.batches)
        second.kill()


@pytest.mark.feature("G5")
async def test_a_kind_end_finishes_ships_and_leaves_nothing(start_gateway: StartGateway) -> None:
    slow: Script = [stream_head(), chunk(sse.HELLO), 1.0, chunk(sse.STOP + sse.DONE), chunk(b"")]
    async with scripted_worker(slow) as worker, brain_double(snapshot(worker.port)) as brain:
        gateway = start_gateway(**brain.settings())
        await ready(gateway)
        async with gateway.async_client() as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            gateway.process.terminate()
            pieces = [one async for one in stream]
        assert pieces[-1].choices[0].finish_reason == "stop"
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0
        assert _ends(brain) == [SegmentEnd.DONE]
        assert list(gateway.spool.iterdir()) == []


async def test_what_does_not_end_in_time_is_told_so(start_gateway: StartGateway) -> None:
    async with scripted_worker([stream_head(), chunk(sse.HELLO), 60.0]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_drain_seconds=0.3)
        async with gateway.async_client() as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            gateway.process.terminate()
            with pytest.raises(Exception, match="shut down"):
                _ = [one async for one in stream]
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0


async def test_without_the_brain_usage_stays_for_the_next_start(tmp_path: Path) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        options = {**settings(brain, tmp_path), "gateway_flush_seconds": 0.5}
        gateway = launch(tmp_path / "a", **options)
        await ready(gateway)
        brain.refuse = True
        assert (await asyncio.to_thread(gateway.post, {"model": "m"})).status_code == 200
        assert await asyncio.to_thread(gateway.stop) == 0
        assert brain.segments == {}
        brain.refuse = False
        second = launch(tmp_path / "b", **options)
        await until(lambda: len(brain.segments) == 1)
        second.kill()


async def test_two_gateways_may_share_a_spool_folder_and_a_port(tmp_path: Path) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        options = {**settings(brain, tmp_path), "gateway_reuse_port": True}
        own = free_port(2)  # who asks at the shared one does not know which of them answers
        first = launch(tmp_path / "a", gateway_own_port=own, **options)
        second = launch(tmp_path / "b", port=first.port, gateway_own_port=own + 1, **options)
        for port in (own, own + 1):
            await ready(replace(first, url=f"http://127.0.0.1:{port}"))
        for _ in range(20):
            assert (await asyncio.to_thread(first.post, {"model": "m"})).status_code == 200
        await until(lambda: len(brain.segments) == 20)
        assert len({one.boot_id for one in brain.segments.values()}) == 2
        first.kill()
        second.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Set BRAIN_URL"),
        (["--snapshot", "/nowhere.json"], "cannot start"),
        (["--snapshot", "/proc/self/comm"], "Not a valid Snapshot"),
    ],
)
def test_a_start_that_cannot_be_says_why(tmp_path: Path, arguments: list[str], words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "GATEWAY_SPOOL_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "inference.app", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_new_snapshot_is_read_on_sighup_and_a_bad_one_is_not(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(1))
        assert gateway.post({"model": "m"}).status_code == 502
        gateway.change(snapshot(1, worker.port))

        async def served() -> bool:
            answered = await asyncio.to_thread(gateway.post, {"model": "m"})
            return answered.status_code == 200

        await until(served)
        bad = snapshot(1)
        bad.accounts.clear()
        gateway.change(bad)
        await until(lambda: "snapshot_refused" in gateway.log.read_text())
        assert await served()


def _ends(brain: BrainDouble) -> list[SegmentEnd]:
    """How requests ended; pieces that a window's end cut go on."""
    return [one.end for one in brain.segments.values() if one.end is not SegmentEnd.OPEN]


async def test_a_gateway_that_lost_a_part_ends_and_says_which(start_gateway: StartGateway) -> None:
    """Here the one that brings the spool to the disk. Else it would serve on without."""
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        note = gateway.spool / gateway_boot(gateway) / "00000001.spool"
        note.rename(note.with_suffix(".away"))
        note.mkdir()
        assert (await asyncio.to_thread(gateway.post, {"model": "m"})).status_code == 200
        assert await asyncio.to_thread(gateway.process.wait, 20) == 1
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    died = [line for line in lines if line["event"] == "part_died"]
    assert [line["error"] for line in died] == ["IsADirectoryError"]
    assert "spool.py" in died[0]["where"]
    assert lines[-1]["event"] == "stopped", "what ran was finished as in any end"


def gateway_boot(gateway: Gateway) -> str:
    (folder,) = gateway.spool.iterdir()
    return folder.name
