"""Keyed requests to the gateways: who runs them, and what they were answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision: str | None = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replay",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("claimed_ns", sa.BigInteger(), nullable=False),
        sa.Column("settled_ns", sa.BigInteger()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "key_hash", name="pk_replay"),
    )
    op.create_index("ix_replay_expires_ns", "replay", ["expires_ns"])


def downgrade() -> None:
    op.drop_table("replay")
