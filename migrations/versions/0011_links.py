"""Where gateways take links; the port where a replica was dialled before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "link_gateway",
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("pods", sa.Boolean(), nullable=False),
        sa.Column("seen_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("boot_id", name="pk_link_gateway"),
    )
    op.drop_column("replica", "port")  # nobody dials a worker


def downgrade() -> None:
    op.add_column("replica", sa.Column("port", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("replica", "port", server_default=None)
    op.drop_table("link_gateway")
