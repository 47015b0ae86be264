"""A Valkey database of its own for each test that asks for ``valkey_url``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.keeper import DATABASES
from tests.support.shared import locked, server_url


@pytest.fixture
def valkey_url(run_folder: Path) -> Iterator[str]:
    """An empty database of the run's one Valkey (``unix://…?db=N``); flushed after the test."""
    url = server_url(run_folder, "valkey").replace("db=0", f"db={_next_number(run_folder)}")
    yield url
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()


def _next_number(folder: Path) -> int:
    counter = folder / "valkey.number"
    with locked(folder, "valkey-number"):
        last = int(counter.read_text()) if counter.exists() else 0
        number = last % (DATABASES - 1) + 1
        counter.write_text(str(number))
    return number
