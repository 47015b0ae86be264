"""`.env.example` names every setting, and nothing that no setting reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brain.settings import Settings as BrainSettings
from inference.pods.settings import Settings as FrontSettings
from inference.settings import Settings as GatewaySettings
from node_agent.settings import Settings as AgentSettings

ROOT = Path(__file__).resolve().parents[3]
LINES = re.findall(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M)
SETTINGS = (BrainSettings, GatewaySettings, FrontSettings, AgentSettings)


def defaults(kind: Any) -> dict[str, Any]:
    """Each setting's name and default, whichever library reads them."""
    if issubclass(kind, msgspec.Struct):
        return {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {name: field.default for name, field in kind.model_fields.items()}


FIELDS = {name.upper() for kind in SETTINGS for name in defaults(kind)}
OTHERS = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "GANGLION_HOME"}
pytestmark = [pytest.mark.feature("O5"), pytest.mark.feature("O10")]


def test_every_setting_is_named_once() -> None:
    names = [name for _, name, _ in LINES]
    assert FIELDS - set(names) == set()
    assert len(names) == len(set(names))


def test_no_name_is_read_by_nobody() -> None:
    assert {name for _, name, _ in LINES} - FIELDS - OTHERS == set()


def test_secrets_have_no_value() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$|DATABASE_URL|REDIS_URL")
    given = [
        name for _, name, value in LINES if secret.search(name) and value and not value.isdigit()
    ]
    assert given == []


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda k: k.__module__)
def test_a_default_that_is_shown_is_the_default(kind: type) -> None:
    shown = {name.lower(): value for mark, name, value in LINES if mark}
    for name, default in defaults(kind).items():
        if name in shown and isinstance(default, int | float) and default is not False:
            assert shown[name] == str(default).lower(), name
