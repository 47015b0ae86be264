"""Minute records of agents, disputes, earnings."""

from __future__ import annotations

revision = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    return


def downgrade() -> None:
    return
