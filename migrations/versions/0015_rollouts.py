"""Revisions of deployments and sealed secrets."""

from __future__ import annotations

revision = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    return


def downgrade() -> None:
    return
