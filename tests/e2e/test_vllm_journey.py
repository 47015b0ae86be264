"""The main job from end to end with real vLLM as the worker: what `make demo ENGINE=vllm` shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.prepared import lay
from tests.support.shared import ROOT
from tests.support.vllm import need_vllm

SECONDS_MAX = 400


def tell_story(home: Path) -> dict[str, Any]:
    """Run the demo on a product of its own; its facts."""
    command = [sys.executable, "-m", "cli.main", "demo", "--engine", "vllm", "--json"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GANGLION_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.mark.real("vllm")
@pytest.mark.slow
@pytest.mark.feature("A1", "A10", "A20", "G1", "G3", "G4")
def test_the_journey_with_real_vllm(tmp_path: Path, prepared_data: Path) -> None:
    need_vllm()
    lay(prepared_data, tmp_path / "home")
    facts = tell_story(tmp_path / "home")
    assert facts["deployment"]["model"] == "ganglion/tiny-random"
    assert facts["why"]["candidates"][0]["ok"]
    plain, streamed = facts["own_calls"]
    assert "stand-in" not in plain["text"] + streamed["text"]
    assert plain["completion_tokens"] > 0
    assert plain["prompt_tokens"] == streamed["prompt_tokens"] > 0
    assert all(receipt["settled"] for receipt in facts["own_receipts"] + facts["pool_receipts"])
    assert facts["stopped"]["state"] == "stopped"
    lease = facts["lease_receipt"]
    assert lease["final"]
    held_ns = lease["closed_ns"] - lease["opened_ns"]
    assert sum(lease["buckets"].values()) == held_ns * lease["gpus"]
    assert lease["busy_ns"] > 0
    assert all(proof["holds"] for proof in facts["proofs"])
