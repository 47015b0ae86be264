"""Keys of nodes through time; releases of the agent, and how each node's update went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "node_key",
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("replaced", sa.Text(), nullable=False),
        sa.Column("since_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("public_key", name="pk_node_key"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_node_key_node_id"),
    )
    op.create_index("ix_node_key_node_id", "node_key", ["node_id"])
    op.execute(
        "INSERT INTO node_key (public_key, node_id, replaced, since_at)"
        " SELECT public_key, node_id, '', created_at FROM node WHERE length(public_key) = 64"
    )
    op.create_table(
        "agent_release",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_agent_release"),
    )
    op.create_table(
        "node_update",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "sha256", name="pk_node_update"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_node_update_node_id"),
    )


def downgrade() -> None:
    op.drop_table("node_update")
    op.drop_table("agent_release")
    op.drop_table("node_key")
