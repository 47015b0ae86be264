"""Every table of the brain, in one metadata: what migrations are compared with."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from sqlalchemy import MetaData

import brain
from brain.plumbing import Base

# Rooms keep their tables in models.py; plumbing and edge beside what works on them.
_TABLE_MODULES = (
    *("models", "idempotency", "audit", "changes", "inbox", "moves", "outbox"),
    *("documents", "caps"),
)


def every_table() -> MetaData:
    """The metadata, once every module that holds tables is imported."""
    for module in pkgutil.walk_packages(brain.__path__, "brain."):
        if module.name.rsplit(".", 1)[1] in _TABLE_MODULES:
            import_module(module.name)
    return Base.metadata
