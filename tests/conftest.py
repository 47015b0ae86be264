"""The one conftest: everything it offers lies in tests/support."""

from __future__ import annotations

pytest_plugins = ["tests.support.plugin"]
