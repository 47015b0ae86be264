"""Bookings of a processor's fee are counted: a fee may become what it was before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision: str | None = "0031"
branch_labels = None
depends_on = None

TABLES = ("topup", "topup_reversal")


def upgrade() -> None:
    for table in TABLES:
        count = sa.Column("fee_bookings", sa.Integer(), nullable=False, server_default="0")
        op.add_column(table, count)
        op.alter_column(table, "fee_bookings", server_default=None)


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "fee_bookings")
