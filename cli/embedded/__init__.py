"""PostgreSQL and Valkey as direct children, for a machine that has neither."""

from cli.embedded.postgres import DatabaseUnusable, Postgres
from cli.embedded.valkey import Valkey

__all__ = ["DatabaseUnusable", "Postgres", "Valkey"]
