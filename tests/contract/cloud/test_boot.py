"""A machine really runs what it was given, whatever stands in it."""

from __future__ import annotations

import pytest

from brain.clouds import Boot, HasLogs, MachineState
from tests.contract.cloud.rigs import RIGS, TAG, Rig
from tests.support.wait import until

pytestmark = [
    pytest.mark.feature("B1"),
    pytest.mark.feature("B2"),
    pytest.mark.feature("B3"),
    pytest.mark.feature("B4"),
]
ODD = 'it\'s "quoted"\n$HOME `id` \\n %s ; & | < > {"a": 1} é'
CONTAINERS = sorted(set(RIGS) - {"lambda"})  # elsewhere a machine stays up beside its script
SCRIPT = """\
# What stands here is not for any shell but this one: ' " $(exit 3) `exit 4` \\ %% é
set -eu
cat <<'END' > there.txt
a 'line' with "quotes" and $DOLLARS
END
printf %s "$GREETING" > greeting.txt
echo it runs
exec sleep 600
"""


async def test_script_and_environment_arrive_as_they_are(booting_rig: Rig) -> None:
    rig = booting_rig
    made = await rig.rent(TAG, Boot(SCRIPT, {"GREETING": ODD}, "python:3.11"))
    rig.settle(600)
    await rig.run(rig.cloud.listing())
    home = rig.home(made.machine_id)
    await until(lambda: next(home.rglob("greeting.txt"), None))
    await until(lambda: next(home.rglob("greeting.txt")).read_text() == ODD)
    assert next(home.rglob("there.txt")).read_text() == "a 'line' with \"quotes\" and $DOLLARS\n"
    if isinstance(rig.cloud, HasLogs):
        await until(lambda: _says(rig, made.machine_id, "it runs"))


async def _says(rig: Rig, machine_id: str, words: str) -> bool:
    assert isinstance(rig.cloud, HasLogs)
    return words in await rig.run(rig.cloud.logs(machine_id, lines_max=20))


@pytest.mark.parametrize("booting_rig", CONTAINERS, indirect=True)
async def test_a_container_whose_program_ends_does_not_run(booting_rig: Rig) -> None:
    rig = booting_rig
    made = await rig.rent(TAG, Boot("exit 3\n", {}, "python:3.11"))
    rig.settle(600)

    async def is_down() -> bool:
        rig.clock.advance(5)
        await rig.run(rig.cloud.listing())
        state = (await rig.run(rig.cloud.machine(made.machine_id))).state
        return state in {MachineState.STOPPED, MachineState.FAILED}

    await until(is_down)
    assert [one.tag for one in await rig.run(rig.cloud.find_by_tag(TAG))] == [TAG]
