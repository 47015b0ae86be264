"""A whole product with no node of its own, for hosts that are installed beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian_host import DebianHost, debian_host
from tests.support.installation import Installation

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One xdist worker has the product, as two cores hold one at a time."""
    for item in items:
        if item.path.is_relative_to(HERE) and "product" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.real("debian-root"))
            item.add_marker(pytest.mark.xdist_group("second"))


@pytest.fixture(scope="module")
def product(prepared_data: Path) -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home", data=prepared_data)
    # No cloud either: what serves here is a host of the test.
    ready = found.start("--no-node", extra={"USE_MOCK_PROVIDERS": "false"})
    assert "brain_url" in ready, f"{ready} {(folder / 'home.up.log').read_text()[-3000:]}"
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def host() -> Iterator[DebianHost]:
    """A Debian 12 as it was made."""
    with debian_host() as host:
        yield host
