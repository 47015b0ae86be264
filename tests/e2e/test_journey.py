"""The main job from end to end through the public interface: what ``make demo`` shows."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from kernel.receipt import recompute
from tests.support.installation import Installation


@pytest.fixture(scope="module")
def facts(installation: Installation) -> dict[str, Any]:
    """The demo told on the running product."""
    found: dict[str, Any] = installation.ask("demo")
    return found


pytestmark = pytest.mark.slow


@pytest.mark.feature("D3", "D4", "F1", "C5")
def test_the_planner_chose_and_said_why(facts: dict[str, Any]) -> None:
    assert facts["own_run"] is False
    assert facts["why"]["candidates"][0]["ok"]
    assert facts["why"]["candidates"][0]["reasons"]
    replica = facts["deployment"]["replica_list"][0]
    assert replica["state"] == "ready"
    assert replica["epoch"] >= 1


@pytest.mark.feature("A1", "A7")
def test_the_official_client_got_answers_and_models(facts: dict[str, Any]) -> None:
    plain, streamed = facts["own_calls"]
    assert plain["text"] == streamed["text"]
    assert "stand-in" in plain["text"]
    assert streamed["first_seconds"] < streamed["seconds"]
    assert facts["deployment"]["name"] in facts["models"]


@pytest.mark.feature("G1")
def test_requests_on_an_own_deployment_cost_nothing_by_themselves(facts: dict[str, Any]) -> None:
    for receipt in facts["own_receipts"]:
        assert receipt["settled"]
        assert receipt["cost"]["units"] == 0
        assert receipt["share"]["ticks"] > 0


@pytest.mark.feature("A20", "G1")
def test_a_second_account_paid_its_share_of_the_pool(facts: dict[str, Any]) -> None:
    assert facts["neighbour"]["account_id"] != facts["owner"]["account_id"]
    for receipt in facts["pool_receipts"]:
        assert receipt["cost"]["units"] > 0
        assert any(tx["kind"] == "pool_window" for tx in receipt["ledger"])


@pytest.mark.feature("G1", "G3")
def test_anyone_can_recompute_every_receipt(facts: dict[str, Any]) -> None:
    for receipt in [*facts["own_receipts"], *facts["pool_receipts"], facts["lease_receipt"]]:
        verdict = recompute(receipt)
        assert verdict.ok, verdict.wrong


@pytest.mark.feature("G1", "D3")
def test_the_lease_ended_and_its_buckets_are_its_capacity(facts: dict[str, Any]) -> None:
    assert facts["stopped"]["state"] == "stopped"
    lease = facts["lease_receipt"]
    assert lease["final"]
    held_ns = lease["closed_ns"] - lease["opened_ns"]
    assert sum(lease["buckets"].values()) == held_ns * lease["gpus"]
    assert lease["billed_nano"] > 0


@pytest.mark.feature("G3")
def test_every_ledger_entry_has_its_other_side(facts: dict[str, Any]) -> None:
    receipts = [*facts["own_receipts"], *facts["pool_receipts"], facts["lease_receipt"]]
    for booking in [tx for receipt in receipts for tx in receipt["ledger"]]:
        sums: dict[str, int] = {}
        for entry in booking["entries"]:
            sums[entry["asset"]] = sums.get(entry["asset"], 0) + entry["amount"]
        assert set(sums.values()) == {0}


@pytest.mark.feature("G3")
def test_the_proofs_hold(facts: dict[str, Any]) -> None:
    assert facts["proofs"]
    assert all(proof["holds"] for proof in facts["proofs"])


@pytest.mark.feature("N2")
def test_a_receipt_can_be_verified_from_a_file(
    facts: dict[str, Any], installation: Installation
) -> None:
    receipt = deepcopy(facts["pool_receipts"][0])
    told = installation.run("receipt", "-", "--verify", text=json.dumps(receipt))
    assert told.returncode == 0, told.stderr
    receipt["cost"]["units"] += 1
    assert installation.run("receipt", "-", "--verify", text=json.dumps(receipt)).returncode == 1
