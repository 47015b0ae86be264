"""Whole journeys: of a product whose database is there already, but for those of a first start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installation import Installation


@pytest.fixture
def fresh_installation(fresh_installation: Installation, prepared_data: Path) -> Installation:
    """One that the test itself starts and harms."""
    fresh_installation.data = prepared_data
    return fresh_installation
