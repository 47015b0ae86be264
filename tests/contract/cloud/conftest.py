"""``rig``: each adapter in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.clock import ManualClock
from tests.contract.cloud.rigs import RIGS, Rig, opened


@pytest.fixture(params=sorted(RIGS))
def rig(
    request: pytest.FixtureRequest, clock: ManualClock, seed: int, tmp_path: Path
) -> Iterator[Rig]:
    """Machines that boot nothing, but for the fake cloud's."""
    with opened(request.param, clock, seed, tmp_path, boots=False) as made:
        yield made


@pytest.fixture(params=sorted(RIGS))
def booting_rig(
    request: pytest.FixtureRequest, clock: ManualClock, seed: int, tmp_path: Path
) -> Iterator[Rig]:
    """Machines that really run what they are given."""
    with opened(request.param, clock, seed, tmp_path, boots=True) as made:
        yield made
