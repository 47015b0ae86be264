"""The official client for Node: ``node_walk(base_url, key, model, "chat", …)``.

It takes the steps of tests/contract/worker/openai_walk.cjs and gives what each of them printed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.shared import ROOT
from tools import node_part, parts

SCRIPT = ROOT / "tests" / "contract" / "worker" / "openai_walk.cjs"
WALK_SECONDS_MAX = 180
ENVIRONMENT = {"NODE_PATH": str(node_part.MODULES), "PATH": "/usr/bin:/bin"}
NodeWalk = Callable[..., dict[str, dict[str, Any]]]


def pytest_itemcollected(item: pytest.Item) -> None:
    if "node_walk" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.real("node"))


@pytest.fixture
def node_walk() -> NodeWalk:
    """Skips with the reason where Node is not here; fails when the run requires real parts."""
    reason = parts.why_missing("node")
    if reason and parts.is_required():
        pytest.fail(f"the client for Node is required: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"the client for Node: {reason}")
    return _walk


def _walk(base_url: str, key: str, model: str, *steps: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [str(node_part.NODE), str(SCRIPT), base_url, key, model, *steps],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=WALK_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("step"): line for line in lines}
