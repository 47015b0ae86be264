"""The brain that the agent's tests talk to, and the agent itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess


@pytest.fixture
async def brain() -> AsyncIterator[AgentBrain]:
    brain = AgentBrain()
    await brain.start()
    yield brain
    await brain.stop()


@pytest.fixture
def agent(brain: AgentBrain, tmp_path: Path) -> Iterator[AgentProcess]:
    """The agent with two simulated GPUs and the process hand, not yet started."""
    agent = AgentProcess(tmp_path / "agent", brain.url)
    yield agent
    agent.clean()
