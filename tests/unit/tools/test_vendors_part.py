"""The locks of others' own clients: what the extras name, hashed, from no host."""

from __future__ import annotations

import re
import tomllib

import pytest

from tools.part import ROOT
from tools.vendors_part import CLIENTS, Client

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_lock_pins_what_the_extra_names_with_hashes_and_no_host(client: Client) -> None:
    text = client.lock.read_text()
    pins = re.findall(r"^([a-z0-9._-]+==[^ ;\\]+)", text, re.MULTILINE)
    assert EXTRAS[f"vendor-{client.name}"][0] in pins
    assert text.count("--hash=sha256:") >= len(pins) > 5
    assert "://" not in text
