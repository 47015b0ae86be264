"""Renters' own images at clouds: leases and rented machines with no agent of ours."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision: str | None = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What stands has an agent. A claim's statement and brains of before name no such column."""
    no, none = sa.text("false"), sa.text("'[]'")
    op.add_column("lease", sa.Column("agentless", sa.Boolean(), nullable=False, server_default=no))
    for column in (
        sa.Column("agentless", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("ssh_keys", postgresql.JSONB(), nullable=False, server_default=none),
        sa.Column("endpoints", postgresql.JSONB(), nullable=False, server_default=none),
        sa.Column("endpoints_ns", sa.BigInteger()),
        sa.Column("unwell_ns", sa.BigInteger()),
    ):
        op.add_column("provision_intent", column)


def downgrade() -> None:
    for name in ("unwell_ns", "endpoints_ns", "endpoints", "ssh_keys", "agentless"):
        op.drop_column("provision_intent", name)
    op.drop_column("lease", "agentless")
