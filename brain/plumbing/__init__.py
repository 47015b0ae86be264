"""Lowest floor of the brain: database, context, moves, changes, work rows, outbox, audit."""

from brain.plumbing.context import Ctx
from brain.plumbing.db import Db, Tx

__all__ = ["Ctx", "Db", "Tx"]
