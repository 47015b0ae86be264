"""The agent hears of news when there is some: its long poll, and what follows it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node_agent import agent as agents
from node_agent import daemon
from node_agent.settings import read
from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.wait import until

FOR_EVER = 3600.0


async def test_an_answer_with_news_is_followed_by_the_next_poll_at_once(
    brain: AgentBrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "WAKE_PAUSE_SECONDS", FOR_EVER)
    brain.beat_seconds = 300
    given = {
        "BRAIN_URL": brain.url,
        "AGENT_HOME": str(tmp_path / "agent"),
        "AGENT_ENGINE": "process",
        "SIMULATE_GPUS": "1",
        "JOIN_TOKEN": brain.token,
    }
    running = asyncio.create_task(daemon.run(read(given, {})))
    try:
        for polls in range(1, 4):
            await until(lambda polls=polls: brain.polls == polls)
            brain.generation += 1
        await until(lambda: brain.polls == 4)
        assert {beat.generation for beat in brain.beats} >= {0, 1, 2}, "each was heard in turn"
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)  # the loop's handler: the agent's own stop
        await asyncio.wait_for(running, 60)


async def test_a_brain_on_this_host_is_asked_often_and_each_reason_is_told_once(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    brain.beat_seconds = 300
    agent.start()
    await until(lambda: brain.waiting)
    brain.away = True
    brain.generation += 1  # the poll ends, and a beat follows
    await until(lambda: brain.turned_away > 10)
    brain.away = False
    brain.public_key = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    brain.forget_sessions()
    await until(lambda: "node_unknown" in agent.printed())
    told = [line for line in agent.printed().splitlines() if "beat_failed" in line]
    assert [json.loads(line)["code"] for line in told] == ["unavailable", "node_unknown"]
