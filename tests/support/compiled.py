"""SQL that one test compiled serves all later ones of its process.

Every test has a database and thus an engine of its own, and SQLAlchemy keeps compiled statements
by engine and dialect: without this, each test compiles again all that it says, which takes longer
than to say it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import LRUCache

STATEMENTS_MAX = 4000


class OneDialect(PGDialect_asyncpg):
    """The asyncpg dialect, the same object for all engines of the process."""

    supports_statement_cache = True
    compiled: ClassVar[LRUCache[Any, Any]] = LRUCache(STATEMENTS_MAX)
    one: ClassVar[OneDialect | None] = None

    def __new__(cls, **_: Any) -> OneDialect:
        if cls.one is None:
            cls.one = super().__new__(cls)
        return cls.one

    def __init__(self, **options: Any) -> None:
        if "dbapi" not in self.__dict__:
            super().__init__(**options)  # type: ignore[no-untyped-call]

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=cls.compiled)


registry.register("postgresql.asyncpg", __name__, OneDialect.__name__)
