"""A million requests through one gateway, every tenth given up by its client: does its memory grow?

Nine of ten are plain, the tenth is a short stream; clients give up as soon as they have asked, or
in the middle of a stream. The gateway's memory is looked at after a first tenth, in which pools
and tables fill, and at the end. ``python -m bench.endurance [--requests N]`` is this part alone.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from bench.figure import Figure
from bench.gateway import spooled_ends, start_gateway
from bench.rig import LOAD_CORE, CannotMeasure, Round, Server, build, free_port, measure, start
from kernel.wire.gateway import SegmentEnd

REQUESTS = 1_000_000
CONNECTIONS = 32
SECONDS = 10.0
REQUESTS_A_SECOND = 20_000  # about: a small count is asked in shorter rounds
CHUNKS, INTERVAL_US = 4, 1000  # of a stream: three to seven events


async def figures(_database_url: str, _valkey_url: str, requests: int = REQUESTS) -> list[Figure]:
    try:
        build("load")
        mock = str(build("mock_worker"))
    except CannotMeasure as missing:
        return [Figure("endurance_rss_growth_mib", None, "", str(missing))]
    home, port = Path(tempfile.mkdtemp(prefix="ganglion-bench-endurance-")), free_port()
    worker = [mock, str(port), str(CHUNKS), str(INTERVAL_US)]
    servers = [await start("mock_worker", worker, port, core=LOAD_CORE)]
    try:
        gateway = await start_gateway(port, home)
        servers.append(gateway)
        rounds, early, late = await _endure(gateway, requests)
        gateway.stop()
        servers.remove(gateway)
        done = spooled_ends(home / "spool")[SegmentEnd.DONE]
        return _told(rounds, early, late, done)
    finally:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _endure(gateway: Server, requests: int) -> tuple[list[Round], float, float]:
    """The rounds that so many take, and the gateway's memory after a tenth and at the end."""
    rounds: list[Round] = []
    early, asked = 0.0, 0
    seconds = min(SECONDS, requests / REQUESTS_A_SECOND / 10)
    while asked < requests:
        rounds.append(await measure(gateway, CONNECTIONS, seconds, "rough"))
        asked += rounds[-1].answered + rounds[-1].aborted
        if not early and asked > requests / 10:
            early = gateway.rss_mib()
    return rounds, early, gateway.rss_mib()


def _told(rounds: list[Round], early: float, late: float, done: int) -> list[Figure]:
    answered, aborted = sum(one.answered for one in rounds), sum(one.aborted for one in rounds)
    failed, asked = sum(one.failed for one in rounds), answered + aborted
    midway, streams = sum(one.midway for one in rounds), sum(one.streams for one in rounds)
    return [
        Figure("endurance_requests", asked, "requests"),
        Figure("endurance_aborted_percent", 100 * aborted / asked, "%"),
        Figure("endurance_aborted_midway_percent", 100 * midway / asked, "%"),
        Figure("endurance_streams_percent", 100 * streams / asked, "%"),
        Figure("endurance_rss_mib", late, "MiB"),
        Figure("endurance_rss_growth_mib", late - early, "MiB"),
        Figure("endurance_uncounted", failed + max(0, answered - done), "requests"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    for figure in asyncio.run(figures("", "", parser.parse_args().requests)):
        print(figure.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
