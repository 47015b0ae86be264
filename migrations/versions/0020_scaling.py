"""Deployments that follow their load: the owner's bounds, and what gateways tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision: str | None = "0019"
branch_labels = None
depends_on = None

_BOUNDS = (
    "min_replicas",
    "max_replicas",
    "target_in_flight",
    "scale_down_after_seconds",
    "scale_to_zero_after_seconds",
)


def upgrade() -> None:
    """What stands has a number of its owner's. A brain of before names no such column."""
    for name in _BOUNDS:
        op.add_column("deployment", sa.Column(name, sa.Integer()))
    op.add_column(
        "deployment",
        sa.Column(
            "scaling_seen", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'")
        ),
    )
    op.create_table(
        "deployment_load",
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("in_flight", sa.Double(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=False),
        sa.Column("seen_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("boot_id", "deployment_id", name="pk_deployment_load"),
    )
    op.create_index("ix_deployment_load_deployment_id", "deployment_load", ["deployment_id"])


def downgrade() -> None:
    op.drop_table("deployment_load")
    op.drop_column("deployment", "scaling_seen")
    for name in reversed(_BOUNDS):
        op.drop_column("deployment", name)
