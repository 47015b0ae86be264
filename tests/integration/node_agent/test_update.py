"""The agent updates itself: fetched and proved, taken up, kept or taken back; work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brain.marketplace.agent_file import AgentFile
from kernel.wire.agent import LeaseSeenState
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_host import AgentHost, another, packed, source
from tests.support.agent_process import workers
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C8"), pytest.mark.slow]
SECONDS = 90
FUTURE = "from __future__ import annotations\n"


@pytest.fixture
def host(brain: AgentBrain, tmp_path: Path) -> Iterator[AgentHost]:
    """An agent of this tree's file, installed and not yet started."""
    host = AgentHost(tmp_path, brain.url)
    host.install(packed())
    yield host
    host.clean()


@pytest.fixture
def strict_host(brain: AgentBrain, tmp_path: Path) -> Iterator[AgentHost]:
    """One that gives a new version seconds to be heard, which a busy machine may need to start."""
    host = AgentHost(tmp_path, brain.url, AGENT_TRIAL_SECONDS="6")
    host.install(packed())
    yield host
    host.clean()


def told(brain: AgentBrain, file: AgentFile) -> None:
    """The brain hands this file out and names it in each answer."""
    brain.file, brain.update_to = file.content, file.sha256


async def beats_from(brain: AgentBrain, file: AgentFile) -> None:
    await until(
        lambda: brain.beats and brain.beats[-1].agent_file == file.sha256,
        SECONDS,
        why=f"a beat of {file.sha256[:12]}",
    )


async def test_an_old_agent_updates_itself_and_its_worker_never_notices(
    brain: AgentBrain, host: AgentHost
) -> None:
    host.start()
    await beats_from(brain, packed())
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, LeaseSeenState.READY, SECONDS)
    before = {(worker.pid, worker.create_time()) for worker in workers(host.home)}
    told(brain, another("newer"))
    await beats_from(brain, another("newer"))
    assert brain.beats[-1].agent_version.endswith(f"+{another('newer').sha256[:12]}")
    seen = await brain.shows(lease.lease_id, LeaseSeenState.READY, SECONDS)
    assert seen.restarts == 0
    assert {(worker.pid, worker.create_time()) for worker in workers(host.home)} == before
    await until(lambda: host.read("trial.json") is None, SECONDS)
    assert host.current() == another("newer").sha256


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"node_agent__daemon": "raise RuntimeError('broken')\n"}, "it ended 3 times"),
        ({"node_agent__main": "def main(: pass\n"}, "it ended 3 times"),
    ],
    ids=["at import", "syntax"],
)
async def test_a_version_that_ends_at_its_start_is_taken_back(
    brain: AgentBrain, host: AgentHost, broken: dict[str, str], why: str
) -> None:
    bad = packed(**broken)
    host.start()
    await beats_from(brain, packed())
    told(brain, bad)
    await until(lambda: host.read("bad.json"), SECONDS)
    assert why in host.read("bad.json")[bad.sha256]
    await until(lambda: brain.beats[-1].update_failed == bad.sha256, SECONDS)
    assert (brain.beats[-1].agent_file, host.current()) == (packed().sha256, packed().sha256)
    tried = host.printed().count("update_began")
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) > beats + 3, SECONDS)
    assert host.printed().count("update_began") == tried, "a hash that is bad is not tried again"


async def test_a_version_that_runs_and_is_not_heard_is_taken_back(
    brain: AgentBrain, strict_host: AgentHost
) -> None:
    host = strict_host
    mute = another("mute")
    brain.deaf_to = mute.sha256
    host.start()
    await beats_from(brain, packed())
    told(brain, mute)
    await until(lambda: host.read("bad.json"), SECONDS)
    assert "did not hear it" in host.read("bad.json")[mute.sha256]
    await until(lambda: brain.beats[-1].update_failed == mute.sha256, SECONDS)
    assert brain.beats[-1].agent_file == packed().sha256


@pytest.mark.long
async def test_a_brain_that_is_away_condemns_no_version(
    brain: AgentBrain, strict_host: AgentHost
) -> None:
    host = strict_host
    fine = another("fine")
    host.start()
    await beats_from(brain, packed())
    told(brain, fine)
    await until(lambda: "update_ready" in host.printed(), SECONDS)
    brain.away = True
    await until(lambda: '"trial": true' in host.printed(), SECONDS)
    lines = host.printed().count("beat_failed")
    await until(lambda: host.printed().count("beat_failed") > lines + 8, SECONDS)
    assert host.read("bad.json") is None
    brain.away = False
    await beats_from(brain, fine)


async def test_a_file_that_is_not_the_one_that_was_named_is_refused(
    brain: AgentBrain, host: AgentHost
) -> None:
    host.start()
    await beats_from(brain, packed())
    brain.file = another("tampered").content
    brain.update_to = another("named").sha256
    await until(lambda: brain.beats[-1].update_failed == another("named").sha256, SECONDS)
    assert "SHA-256 differs" in brain.beats[-1].update_reason
    assert {path.name for path in (host.root / "versions").iterdir()} == {packed().sha256}
    assert host.current() == packed().sha256


@pytest.mark.long
async def test_a_later_version_is_taken_up_after_a_bad_one(
    brain: AgentBrain, host: AgentHost
) -> None:
    bad = packed(node_agent__daemon="raise RuntimeError('broken')\n")
    host.start()
    await beats_from(brain, packed())
    told(brain, bad)
    await until(lambda: host.read("bad.json"), SECONDS)
    told(brain, another("repaired"))
    await beats_from(brain, another("repaired"))
    assert host.read("bad.json") == {bad.sha256: host.read("bad.json")[bad.sha256]}


async def test_an_agent_for_one_lease_never_updates(brain: AgentBrain, tmp_path: Path) -> None:
    host = AgentHost(tmp_path / "one", brain.url, AGENT_ONE_LEASE="1")
    host.install(packed())
    told(brain, another("newer"))
    try:
        host.start()
        await until(lambda: len(brain.beats) >= 4, SECONDS)
        assert (host.current(), brain.beats[-1].agent_file) == (packed().sha256, "")
    finally:
        host.clean()


# Dies at the n-th step that changes something below the root, in the process that is named.
DIES = """
import os, signal, sys
_PROGRAM, _AT, _ROOT, _ONCE = {program!r}, {at}, {root!r}, {once!r}
_steps = 0
def _hook(event, arguments):
    global _steps
    if event not in ("os.rename", "os.symlink", "os.remove", "os.mkdir"):
        return
    if not any(str(one).startswith(_ROOT) for one in arguments):
        return
    if "/versions/." in str(arguments[0]) and event != "os.rename":
        return
    _steps += 1
    if _steps == _AT and not os.path.exists(_ONCE):
        open(_ONCE, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
if any(_PROGRAM in one for one in sys.orig_argv):
    sys.addaudithook(_hook)
"""


DEATHS = [("node_agent.main", at) for at in (1, 2, 3)]
DEATHS += [("node_agent.launcher", at) for at in (2, 3, 4, 5, 6, 7)]
DEATHS += [("unpack", 1)]


@pytest.mark.parametrize(("program", "at"), DEATHS)
@pytest.mark.long
async def test_a_death_at_any_step_leaves_one_agent_that_works(
    brain: AgentBrain, tmp_path: Path, program: str, at: int
) -> None:
    host = AgentHost(tmp_path, brain.url)
    once = tmp_path / "died"
    text = DIES.format(program=program, at=at, root=str(host.root), once=str(once))
    first, newer = packed(), another("newer")
    if program == "node_agent.main":
        first = packed(sitecustomize=text)
    elif program == "unpack":
        body = source("node_agent/unpack")
        newer = packed(node_agent__unpack=body.replace(FUTURE, FUTURE + text, 1))
    host.install(first)
    if program == "node_agent.launcher":
        (host.root / "launcher" / "sitecustomize.py").write_text(text)
    try:
        host.start(PYTHONDONTWRITEBYTECODE="1")  # caches of imports are no steps
        await beats_from(brain, first)
        assert not once.exists()
        told(brain, newer)

        def updated() -> bool:
            assert host.process is not None
            if host.process.poll() is not None:
                host.start(PYTHONDONTWRITEBYTECODE="1")  # as its init would
            return brain.beats[-1].agent_file == newer.sha256

        await until(updated, SECONDS * 2, every=0.1)
        assert once.exists(), "it died on the way"
        assert host.read("bad.json") is None
        assert host.current() == newer.sha256
    finally:
        host.clean()
