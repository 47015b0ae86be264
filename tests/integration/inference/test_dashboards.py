"""Every metric that a panel of ``ops/grafana`` asks for exists where it is scraped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import KEY, StartGateway, snapshot
from tests.support.scripted_worker import CUT, Script, chunk, scripted_worker, stream_head
from tests.unit.inference import sse

BOARDS = sorted((Path(__file__).resolve().parents[3] / "ops" / "grafana").glob("*.json"))
STREAM: Script = [stream_head(), chunk(sse.HELLO), 0.05, chunk(sse.HELLO)]
STREAM += [chunk(sse.STOP + sse.DONE), chunk(b"")]
# Words of PromQL in these boards that are no metric.
WORDS = {"histogram_quantile", "sum", "max", "rate", "by", "le", "route", "status", "state"}
WORDS |= {"queue", "instance", "replica", "job"}


def asked_for(board: Path) -> set[str]:
    """The names in a board's expressions, less what stands in braces, quotes and brackets."""
    panels = json.loads(board.read_text())["panels"]
    found: set[str] = set()
    for target in (target for panel in panels for target in panel["targets"]):
        bare = re.sub(r'\{[^}]*\}|\[[^]]*\]|"[^"]*"', " ", target["expr"])
        found |= set(re.findall(r"[a-z_][a-z0-9_]*", bare))
    return found - WORDS


def names(page: str) -> set[str]:
    lines = (line for line in page.splitlines() if line and not line.startswith("#"))
    return {re.split(r"[{ ]", line)[0] for line in lines}


async def of_a_gateway(start_gateway: StartGateway) -> set[str]:
    """After a stream that went well, and requests whose worker died."""
    async with scripted_worker(lambda n: STREAM if n == 0 else [CUT]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as client:
            path = f"{gateway.url}/v1/chat/completions"
            for body in (b'{"model":"m","stream":true}', b'{"model":"m"}', b'{"model":"m"}'):
                await client.post(path, content=body)
            return names((await client.get(f"{gateway.url}/metrics")).text)


@pytest.mark.feature("O2")
async def test_every_metric_of_every_panel_exists(
    start_gateway: StartGateway, brain: httpx.AsyncClient
) -> None:
    assert (await brain.get("/health/live")).status_code == 200  # one request is counted
    scraped = names((await brain.get("/metrics")).text) | await of_a_gateway(start_gateway)
    missing = {board.name: sorted(asked_for(board) - scraped) for board in BOARDS}
    assert missing == {board.name: [] for board in BOARDS}


@pytest.mark.feature("O2")
def test_the_boards_can_be_loaded_side_by_side() -> None:
    boards = [json.loads(board.read_text()) for board in BOARDS]
    assert len(boards) == 5 == len({board["uid"] for board in boards})
    for board in boards:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert all(panel["targets"] and panel["title"] for panel in board["panels"])
