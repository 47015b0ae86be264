"""Others' own clients, each in its environment below .parts: ``runpod_client`` and so on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import parts, vendors_part

FIXTURES = {
    "runpod_client",
    "vast_client",
    "lambda_client",
    "agents_client",
    "langchain_client",
    "momo_client",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    if FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.real("vendors"))


@pytest.fixture(scope="session")
def runpod_client() -> Path:
    """The Python that has ``runpod``; its programs lie beside it."""
    return _python("runpod")


@pytest.fixture(scope="session")
def vast_client() -> Path:
    """The Python that has ``vastai``; its programs lie beside it."""
    return _python("vast")


@pytest.fixture(scope="session")
def lambda_client() -> Path:
    """The Python that has ``lambda_ai_cloud_api_client``; its programs lie beside it."""
    return _python("lambda")


@pytest.fixture(scope="session")
def agents_client() -> Path:
    """The Python that has OpenAI's ``agents``."""
    return _python("agents")


@pytest.fixture(scope="session")
def langchain_client() -> Path:
    """The Python that has ``langchain_openai``."""
    return _python("langchain")


@pytest.fixture(scope="session")
def momo_client() -> Path:
    """The Python that has MTN's old ``mtnmomo``."""
    return _python("momo")


def _python(name: str) -> Path:
    """Skips with the reason when it is not here; fails when the run requires real parts."""
    client = vendors_part.client(name)
    if not client.is_ready():
        reason = parts.why_missing("vendors")
        if parts.is_required():
            pytest.fail(f"others' own clients are required: {reason}", pytrace=False)
        pytest.skip(f"others' own clients: {reason}")
    return client.python
