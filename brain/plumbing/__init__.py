"""Lowest floor of the brain: database, context, moves, changes, work rows, outbox, audit."""

from brain.plumbing import audit, changes, inbox, moves, outbox, work
from brain.plumbing.context import Ctx
from brain.plumbing.db import DRIVER_ERRORS, Base, Db, IdColumn, Tx, once_committed
from brain.plumbing.moves import Stated, history, move
from brain.plumbing.points import Killed, NoPoints, Points
from brain.plumbing.tasks import ended
from brain.plumbing.work import Work

__all__ = [
    "DRIVER_ERRORS",
    "Base",
    "Ctx",
    "Db",
    "IdColumn",
    "Killed",
    "NoPoints",
    "Points",
    "Stated",
    "Tx",
    "Work",
    "audit",
    "changes",
    "ended",
    "history",
    "inbox",
    "move",
    "moves",
    "once_committed",
    "outbox",
    "work",
]
