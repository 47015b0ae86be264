"""An account's last stop is kept when it is lifted, until its owner was told."""

from __future__ import annotations

from alembic import op

revision = "0034"
down_revision: str | None = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE account_standing ADD COLUMN stop_at TIMESTAMPTZ")
    op.execute("ALTER TABLE account_standing ADD COLUMN stop_reason TEXT NOT NULL DEFAULT ''")
    op.execute("UPDATE account_standing SET stop_at = at, stop_reason = reason WHERE stopped")


def downgrade() -> None:
    op.execute("ALTER TABLE account_standing DROP COLUMN stop_at")
    op.execute("ALTER TABLE account_standing DROP COLUMN stop_reason")
