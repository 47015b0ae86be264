"""Pods, volumes, SSH keys, registry credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision: str | None = "0011"
branch_labels = None
depends_on = None

_MODE = "ck_meter_lease_mode"


def upgrade() -> None:
    op.add_column("deployment", sa.Column("own_launch", postgresql.JSONB()))
    op.drop_constraint(op.f(_MODE), "meter_lease")
    op.create_check_constraint(op.f(_MODE), "meter_lease", "mode IN ('dedicated', 'pool', 'pod')")


def downgrade() -> None:
    op.execute("DELETE FROM meter_lease WHERE mode = 'pod'")
    op.drop_constraint(op.f(_MODE), "meter_lease")
    op.create_check_constraint(op.f(_MODE), "meter_lease", "mode IN ('dedicated', 'pool')")
    op.drop_column("deployment", "own_launch")
