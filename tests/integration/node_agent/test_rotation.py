"""The agent replaces its key: asked, by age, and whatever dies or is lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import ROOT, AgentProcess
from tests.support.wait import until

pytestmark = pytest.mark.feature("C2")
SECONDS = 60
OLD_DAYS = 40


async def chore(agent: AgentProcess, word: str) -> tuple[int, str]:
    """The exit code and what a person reads."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "node_agent.main", word],
        cwd=ROOT,
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


async def beats_again(brain: AgentBrain) -> None:
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) > beats + 1, SECONDS)


async def test_a_running_agent_replaces_its_key_when_asked(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    first = brain.public_key
    code, said = await chore(agent, "--rotate")
    assert (code, json.loads(said)["public_key"]) == (0, brain.public_key)
    assert brain.keys == [first]
    await beats_again(brain)
    assert stat.S_IMODE((agent.home / "node.key").stat().st_mode) == 0o600
    assert not (agent.home / "node.key.next").exists()
    await agent.stop()
    agent.start()
    await beats_again(brain)


async def test_where_no_agent_runs_the_command_does_it_itself(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    code, _ = await chore(agent, "--rotate")
    assert (code, len(brain.keys)) == (0, 1)


async def test_a_lost_answer_is_asked_for_again(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    brain.lose_rotate_answers = 1
    code, said = await chore(agent, "--rotate")
    assert code == 1, said
    assert (agent.home / "node.key.next").exists(), "both keys are kept"
    agent.start()
    await until(lambda: not (agent.home / "node.key.next").exists(), SECONDS)
    await beats_again(brain)
    assert len(brain.keys) == 1, "it is the same new key"


async def test_a_death_after_the_brain_took_the_key_leaves_a_node_that_speaks(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    brain.lose_rotate_answers = 1000
    (agent.home / "rotate.asked").touch()
    await until(lambda: brain.keys, SECONDS)
    await agent.stop(signal.SIGKILL)
    brain.beats.clear()
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    assert len(brain.keys) == 1


async def test_a_death_before_the_brain_heard_of_the_key_loses_nothing(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    brain.away = True
    (agent.home / "rotate.asked").touch()
    await until(lambda: (agent.home / "node.key.next").exists(), SECONDS)
    await agent.stop(signal.SIGKILL)
    brain.away = False
    agent.start()
    await beats_again(brain)
    assert await until(lambda: len(brain.keys) == 1, SECONDS)
    await beats_again(brain)
    assert not (agent.home / "node.key.next").exists()


async def test_an_old_key_is_replaced_without_being_asked(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    key = agent.home / "node.key"
    old = key.stat().st_mtime - OLD_DAYS * 86_400
    os.utime(key, (old, old))
    agent.start()
    await until(lambda: brain.keys, SECONDS)
    await beats_again(brain)
    assert len(brain.keys) == 1, "the new key is young"


async def test_no_days_means_only_when_asked(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.environment["AGENT_KEY_DAYS"] = "0"
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    os.utime(agent.home / "node.key", (1, 1))
    agent.start()
    await beats_again(brain)
    await beats_again(brain)
    assert brain.keys == []


async def test_leaving_ends_the_work_and_tells_the_brain(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    code, said = await chore(agent, "--leave")
    assert (code, json.loads(said)["revoked"], brain.left) == (0, True, True)


async def test_leaving_a_brain_that_is_away_is_told(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    await until(lambda: brain.beats, SECONDS)
    await agent.stop()
    brain.away = True
    code, said = await chore(agent, "--leave")
    assert (code, json.loads(said)["revoked"]) == (4, False)
