"""When a replica's worker was started anew, so that old restarts count no more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    numbers = sa.ARRAY(sa.BigInteger())
    op.add_column("replica", sa.Column("restarts", sa.Integer(), nullable=True))
    op.add_column("replica", sa.Column("restarts_ns", numbers, nullable=True))
    # Nobody knows when the restarts until now were: they are counted already.
    op.execute(
        "UPDATE replica AS r SET restarts_ns = '{}', restarts = coalesce("
        "(SELECT l.seen_restarts FROM lease AS l WHERE l.lease_id = r.lease_id), 0)"
    )
    op.alter_column("replica", "restarts", nullable=False)
    op.alter_column("replica", "restarts_ns", nullable=False)


def downgrade() -> None:
    op.drop_column("replica", "restarts_ns")
    op.drop_column("replica", "restarts")
