"""What starts of a model have shown, so that the next is reckoned with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lease", sa.Column("seen_kv_tokens", sa.BigInteger()))
    op.create_table(
        "model_measure",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("mib", sa.BigInteger(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("measured_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "gpus", name="pk_model_measure"),
    )


def downgrade() -> None:
    op.drop_table("model_measure")
    op.drop_column("lease", "seen_kv_tokens")
