"""Becoming a node: one token, one key, and clear words when it does not work."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C1"), pytest.mark.feature("C2")]


async def last_word(agent: AgentProcess) -> str:
    """What the agent said to a person before it ended with 1."""
    assert agent.process is not None
    assert await until(lambda: agent.process.poll() is not None, 60)  # type: ignore[union-attr]
    assert agent.process.returncode == 1
    return agent.printed().splitlines()[-1]


async def test_the_key_is_made_here_and_only_its_owner_can_read_it(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats)
    key = agent.home / "node.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.home.stat().st_mode) == 0o700
    assert key.read_text() not in agent.printed()
    assert brain.enrolments[0].public_key != key.read_text()


async def test_a_lost_answer_costs_no_token(brain: AgentBrain, agent: AgentProcess) -> None:
    brain.lose_enrol_answers = 2
    agent.start()
    await until(lambda: brain.beats)
    assert len({message.public_key for message in brain.enrolments}) == 1
    assert len(brain.enrolments) == 3


async def test_it_waits_for_a_brain_that_is_not_there_yet(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    brain.away = True
    agent.start()
    await until(lambda: "brain_away" in agent.printed())
    brain.away = False
    assert await until(lambda: brain.beats)


async def test_a_node_needs_no_token_again(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    await until(lambda: brain.beats)
    await agent.stop()
    brain.beats.clear()
    agent.start()
    await until(lambda: brain.beats)
    assert len(brain.enrolments) == 1


async def test_a_wrong_token_is_refused_in_the_brains_words(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.environment["JOIN_TOKEN"] = "stolen"
    agent.start()
    said = await last_word(agent)
    assert said == "This join token is not known. Make a new one and try again."
    assert "stolen" not in agent.printed()


async def test_without_a_token_it_says_how_to_get_one(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    del agent.environment["JOIN_TOKEN"]
    agent.start()
    assert "POST /api/v1/provider/join-tokens" in await last_word(agent)


async def test_two_agents_do_not_share_a_home(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    await until(lambda: brain.beats)
    second = AgentProcess(agent.home, brain.url)
    second.start()
    assert await last_word(second) == f"Another agent already runs with the home {agent.home}."


async def test_another_installations_brain_is_not_obeyed(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    await until(lambda: brain.beats)
    await agent.stop()
    brain.installation_id = "someone-else"
    beats = len(brain.beats)
    agent.start()
    await until(lambda: "belongs to another installation" in agent.printed())
    assert len(brain.beats) == beats


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BRAIN_URL", "brain.example", "BRAIN_URL is wrong"),
        ("SIMULATE_GPUS", "-1", "SIMULATE_GPUS is wrong"),
        ("SIMULATE_GPUS", "many", "SIMULATE_GPUS is wrong"),
        ("AGENT_ENGINE", "podman", "AGENT_ENGINE is wrong"),
        ("AGENT_HOME", "/proc/nowhere", "cannot be used as the agent's home"),
    ],
)
async def test_a_wrong_setting_is_named(
    brain: AgentBrain, agent: AgentProcess, name: str, value: str, words: str
) -> None:
    agent.environment[name] = value
    agent.start()
    assert words in await last_word(agent)


async def test_a_damaged_key_is_not_replaced_by_a_new_one(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.home.mkdir()
    (agent.home / "node.key").write_text("not a key")
    agent.start()
    assert "is not a node key" in await last_word(agent)


async def test_damaged_records_are_set_aside(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.home.mkdir()
    (agent.home / "state.json").write_text("{")
    agent.start()
    await until(lambda: brain.beats)
    assert (agent.home / "state.json.damaged").read_text() == "{"


async def test_once_prints_what_it_sees_and_calls_nobody(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path / "agent", "http://127.0.0.1:9")
    agent.start("--once")
    assert agent.process is not None
    assert agent.process.wait(60) == 0
    seen = json.loads(agent.printed())
    assert (seen["nvml"], len(seen["gpus"])) == ("simulated", 2)
