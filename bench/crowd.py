"""Agents in a process of their own: one process may hold some 20,000 sockets, an agent holds two.

``Crowd`` is the side that asks; ``python -m bench.crowd`` is the other. They speak lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import uvloop

from bench.agents import Address, Beater
from bench.fleet_rows import BOOT, START
from brain.fleet.session import new_session
from cli.embedded.child import die_with_parent
from cli.supervisor.preflight import raise_open_files
from kernel.clock import SystemClock
from kernel.ids import NodeId

LINE_BYTES_MAX = 1 << 28  # all latencies of a long run
ANSWER_SECONDS_MAX = 60


@dataclass(frozen=True)
class Terms:
    """What a crowd is started with. ``secret`` is the sessions', in hex; ``seed`` sets phases."""

    port: int
    beat_seconds: int
    secret: str
    gpus: int
    seed: int
    nodes: list[str]


class Crowd:
    """So many agents, which beat from ``start`` on until ``end``."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.crowd",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            preexec_fn=die_with_parent(),
        )
        await self._ask(asdict(self._terms))

    async def all_beat(self) -> bool:
        """Each of them was answered at least once."""
        found: bool = await self._ask({"do": "look"})
        return found

    async def begin(self) -> None:
        """Forget what was counted so far."""
        await self._ask({"do": "begin"})

    async def kill(self, node: NodeId) -> int:
        """End an agent at once; when its last beat was answered, in ns."""
        last_ns: int = await self._ask({"do": "kill", "node": str(node)})
        return last_ns

    async def counted(self) -> tuple[int, int, list[float]]:
        """Beats, refused ones, and how long each answer took, in seconds, since ``begin``."""
        beats, refused, latencies = await self._ask({"do": "count"})
        return beats, refused, latencies

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, line: object) -> Any:
        process = self._process
        assert process is not None, "start first"
        assert process.stdin is not None, "asked for"
        assert process.stdout is not None, "asked for"
        process.stdin.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return json.loads(await process.stdout.readline())


class _Own:
    """The other side: the agents themselves."""

    def __init__(self, terms: Terms, tasks: asyncio.TaskGroup) -> None:
        clock, chance = SystemClock(), Random(terms.seed)
        address = Address(terms.port, terms.beat_seconds, clock)
        secret, now_ns = bytes.fromhex(terms.secret), clock.now_ns()
        self.agents = {
            node: Beater(
                address,
                NodeId(node),
                new_session(
                    secret,
                    node_id=NodeId(node),
                    agent_start_id=START,
                    host_boot_id=BOOT,
                    now_ns=now_ns,
                ),
                gpus=terms.gpus,
                phase=chance.random() * terms.beat_seconds,
            )
            for node in terms.nodes
        }
        self._lives = {node: agent.start(tasks) for node, agent in self.agents.items()}
        self._before = 0, 0

    def answer(self, asked: dict[str, str]) -> object:
        everybody = self.agents.values()
        match asked["do"]:
            case "look":
                return all(agent.beats for agent in everybody)
            case "begin":
                for agent in everybody:
                    agent.latencies.clear()
                self._before = self._sums()
                return True
            case "kill":
                for task in self._lives[asked["node"]]:
                    task.cancel()
                return self.agents[asked["node"]].answered_ns
            case _:
                beats, refused = self._sums()
                latencies = [one for agent in everybody for one in agent.latencies]
                return beats - self._before[0], refused - self._before[1], latencies

    def _sums(self) -> tuple[int, int]:
        everybody = self.agents.values()
        return sum(a.beats for a in everybody), sum(a.refused for a in everybody)


async def _serve() -> None:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        own = _Own(Terms(**json.loads(await reader.readline())), tasks)
        _say(len(own.agents))
        while line := await reader.readline():
            _say(own.answer(json.loads(line)))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise_open_files()
    uvloop.run(_serve())
