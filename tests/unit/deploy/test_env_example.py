"""`.env.example` names every setting, and nothing that no setting reads."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brain.settings import Settings as BrainSettings
from cli.settings import RunnerSettings
from inference.pods.settings import Settings as FrontSettings
from inference.settings import Settings as GatewaySettings
from node_agent.settings import Settings as AgentSettings

ROOT = Path(__file__).resolve().parents[3]
LINES = re.findall(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M)
SETTINGS = (BrainSettings, GatewaySettings, FrontSettings, AgentSettings, RunnerSettings)


def defaults(kind: Any) -> dict[str, Any]:
    """Each setting's name and default, whichever library reads them."""
    if issubclass(kind, msgspec.Struct):
        return {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {name: field.default for name, field in kind.model_fields.items()}


FIELDS = {name.upper() for kind in SETTINGS for name in defaults(kind)}
OTHERS = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "PG_BIN"}
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


def text(default: Any) -> str:
    """A default as it is written in a file of variables."""
    if default is None or default == ():
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda k: k.__module__)
def test_a_default_that_is_shown_is_the_default(kind: type) -> None:
    """That of one of the programs which read the name, where several do."""
    shown = {name: value for mark, name, value in LINES if mark}
    read = [(name.upper(), text(one)) for own in SETTINGS for name, one in defaults(own).items()]
    asked = {name.upper() for name in defaults(kind)} & set(shown)
    assert asked
    assert {name: shown[name] for name in asked if (name, shown[name]) not in read} == {}
