"""Tables of deployments: deployments, replicas, what happened to them, their last plan."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _deployment()
    _replica()
    _events()
    _placement()


def downgrade() -> None:
    for table in ("placement", "deployment_event", "replica", "deployment"):
        op.drop_table(table)


def _work() -> list[sa.Column[object]]:
    return [
        sa.Column("due_at", AT),
        sa.Column("work_token", sa.Text()),
        sa.Column("work_owner", sa.Text()),
        sa.Column("work_until", AT),
    ]


def _deployment() -> None:
    op.create_table(
        "deployment",
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pool", sa.Boolean(), nullable=False),
        sa.Column("rate_nano", sa.BigInteger(), nullable=False),
        sa.Column("ceiling_prompt_nano", sa.BigInteger(), nullable=False),
        sa.Column("ceiling_completion_nano", sa.BigInteger(), nullable=False),
        sa.Column("gpu", sa.Text()),
        sa.Column("context", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("asked_reason", sa.Text(), nullable=False),
        sa.Column("asked_ns", sa.BigInteger(), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("price_max_nano", sa.BigInteger()),
        sa.Column("max_duration_seconds", sa.Integer()),
        sa.Column("idle_stop_seconds", sa.Integer()),
        sa.Column("broken_reason", sa.Text()),
        sa.Column("broken_ns", sa.BigInteger()),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("deleted_at", AT),
        *_work(),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_deployment"),
    )
    op.create_index("ix_deployment_due_at", "deployment", ["due_at"])
    op.create_index(
        "uq_deployment_name",
        "deployment",
        ["account_id", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _replica() -> None:
    op.create_table(
        "replica",
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("lease_id", sa.Text()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.Text()),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("start_seconds_max", sa.Integer(), nullable=False),
        sa.Column("drain_seconds_max", sa.Integer(), nullable=False),
        sa.Column("stop_asked_ns", sa.BigInteger()),
        sa.Column("stop_reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("waiting_reason", sa.Text(), nullable=False),
        sa.Column("state_ns", sa.BigInteger(), nullable=False),
        sa.Column("claimed_ns", sa.BigInteger()),
        sa.Column("ready_ns", sa.BigInteger()),
        sa.Column("crashed_ns", sa.BigInteger()),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger()),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", AT, nullable=False),
        *_work(),
        sa.PrimaryKeyConstraint("replica_id", name="pk_replica"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployment.deployment_id"],
            name="fk_replica_deployment_id_deployment",
        ),
        sa.UniqueConstraint("lease_id", name="uq_replica_lease_id"),
    )
    op.create_index("ix_replica_due_at", "replica", ["due_at"])
    op.create_index("ix_replica_deployment_id", "replica", ["deployment_id"])


def _events() -> None:
    op.create_table(
        "deployment_event",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text()),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_deployment_event"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployment.deployment_id"],
            name="fk_deployment_event_deployment_id_deployment",
        ),
    )
    op.create_index(
        "ix_deployment_event_deployment_id",
        "deployment_event",
        ["deployment_id", "at_ns", "event_id"],
    )


def _placement() -> None:
    op.create_table(
        "placement",
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("asked", JSONB(), nullable=False),
        sa.Column("candidates", JSONB(), nullable=False),
        sa.Column("candidate_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_placement"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployment.deployment_id"],
            name="fk_placement_deployment_id_deployment",
        ),
    )
