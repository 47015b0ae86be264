"""Alembic migrations: one file a room, one head, forward and back."""
