"""credits, invoices, prices against a running product; the doctor names what loses money."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.installation import Installation, command


@pytest.mark.feature("G4", "N2")
def test_credits_are_listed_and_exported(installation: Installation, tmp_path: Path) -> None:
    packages = installation.ask("credits", "packages")
    assert [p["name"] for p in packages] == ["Startup", "Growing", "Enterprise"]
    listed = installation.ask("credits", "list", "--since", "2020-01-01")
    place = tmp_path / "all.csv"
    installation.ask("credits", "export", str(place))
    assert place.read_text().startswith("transaction_id,at,kind,memo,amount_usd")
    assert len(place.read_text().splitlines()) >= 1 + bool(listed)


@pytest.mark.feature("G6", "N2")
def test_limits_and_warnings_are_set(installation: Installation) -> None:
    made = installation.ask("credits", "limits", "--day", "1000", "--month", "9000")
    assert [(one["span"], one["limit_nano"]) for one in made] == [
        ("day", 1000 * 10**9),
        ("month", 9000 * 10**9),
    ]
    assert installation.ask("credits", "limits", "--day", "none")[0]["span"] == "month"
    assert installation.ask("credits", "limits", "--month", "none") == []
    alert = installation.ask("credits", "alerts", "--below", "2.50", "--email", "a@example.com")
    assert (alert["threshold_nano"], alert["email"]) == (2_500_000_000, "a@example.com")


@pytest.mark.feature("K4", "N2")
def test_prices_are_shown_and_quoted(installation: Installation) -> None:
    assert "gpt-4o-mini" in installation.run("prices").stdout
    quote = installation.ask("prices", "gpt-4o", "--units", "1500")
    assert (quote["milli_credits"], quote["usd"]) == (12_000, "$0.0012")


@pytest.mark.feature("H5", "N2")
def test_receipts_are_saved_as_pdf(installation: Installation, tmp_path: Path) -> None:
    profile = installation.ask("invoices", "profile", "--name", "ACME", "--address", "1 Road")
    assert (profile["legal_name"], profile["address"]) == ("ACME", "1 Road")
    for document in installation.ask("invoices", "list")[:1]:
        place = tmp_path / "one.pdf"
        installation.ask("invoices", "pdf", document["number"], "--to", str(place))
        assert place.read_bytes().startswith(b"%PDF-")


@pytest.mark.feature("K4")
def test_the_doctor_names_services_sold_below_cost(installation: Installation) -> None:
    said = command(installation.home, "doctor", "--json").stdout
    found = [one["sentence"] for one in json.loads(said) if one["subject"] == "prices"]
    assert any(sentence.startswith("gpt-4o is sold at $0.0008") for sentence in found)
