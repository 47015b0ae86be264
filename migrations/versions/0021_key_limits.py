"""Limits that a key has of its own: requests and tokens a minute, requests at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision: str | None = "0020"
branch_labels = None
depends_on = None

NAMES = ("requests_per_minute", "tokens_per_minute", "requests_at_once")


def upgrade() -> None:
    """Keys that stand have none of their own, and so the installation's."""
    for name in NAMES:
        op.add_column("api_key", sa.Column(name, sa.BigInteger()))


def downgrade() -> None:
    for name in reversed(NAMES):
        op.drop_column("api_key", name)
