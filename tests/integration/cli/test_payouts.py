"""payouts against a running product: statements and refusals that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installation import Installation


@pytest.mark.feature("H6", "N2")
def test_a_provider_sees_its_payouts_and_statements(
    installation: Installation, tmp_path: Path
) -> None:
    assert installation.ask("payouts", "list") == []
    found = installation.ask("payouts", "statement", "2026-11")
    assert found["closing_nano"] == found["opening_nano"] + sum(
        line["amount_nano"] for line in found["lines"]
    )
    place = tmp_path / "statement.csv"
    done = installation.run("payouts", "statement", "2026-11", "--csv", str(place))
    assert (done.returncode, place.read_text()[:4]) == (0, "what")


@pytest.mark.feature("H6", "N2")
def test_what_cannot_be_paid_says_what_to_do(installation: Installation) -> None:
    asked = installation.run("payouts", "request")
    assert asked.returncode == 1
    assert "where you are paid" in asked.stderr
    named = installation.run("payouts", "destination", "--momo", "256772123456")
    assert named.returncode == 1
    assert "does not pay by momo" in named.stderr
