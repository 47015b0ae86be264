"""The agent hears of news when there is some: its long poll, and what follows it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from node_agent import agent, daemon
from node_agent.settings import read
from tests.support.agent_brain import AgentBrain
from tests.support.wait import until

FOR_EVER = 3600.0


async def test_an_answer_with_news_is_followed_by_the_next_poll_at_once(
    brain: AgentBrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "WAKE_PAUSE_SECONDS", FOR_EVER)
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
        os.kill(os.getpid(), signal.SIGTERM)  # the loop's handler: the agent's own stop
        await asyncio.wait_for(running, 60)
