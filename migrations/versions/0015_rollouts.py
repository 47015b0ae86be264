"""Revisions of deployments and sealed secrets; how much of each lease's log is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)
TEXTS = postgresql.ARRAY(sa.Text())


def upgrade() -> None:
    _secrets()
    _deployments()
    _replicas()
    _revisions()
    _logs()


def _secrets() -> None:
    op.create_table(
        "account_secret",
        sa.Column("secret_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("changed_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("secret_id", name="pk_account_secret"),
        sa.UniqueConstraint("account_id", "name", name="uq_account_secret_name"),
    )
    op.create_table(
        "lease_secret",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("lease_id", name="pk_lease_secret"),
    )


def _deployments() -> None:
    """What stands runs as its first revision, which is proven."""
    for column in (
        sa.Column("secrets", TEXTS),
        sa.Column("arguments", TEXTS),
        sa.Column("revision", sa.Integer()),
        sa.Column("stable_revision", sa.Integer()),
        sa.Column("rollout_ns", sa.BigInteger()),
        sa.Column("rollout_reason", sa.Text()),
        sa.Column("max_surge", sa.Integer()),
        sa.Column("max_unavailable", sa.Integer()),
        sa.Column("progress_seconds", sa.Integer()),
        sa.Column("drain_seconds", sa.Integer()),
    ):
        op.add_column("deployment", column)
    op.execute(
        "UPDATE deployment SET secrets = '{}', arguments = '{}', revision = 1,"
        " stable_revision = 1, rollout_ns = asked_ns, rollout_reason = '', max_surge = 1,"
        " max_unavailable = 0"
    )
    for name in (
        "secrets",
        "arguments",
        "revision",
        "rollout_ns",
        "rollout_reason",
        "max_surge",
        "max_unavailable",
    ):
        op.alter_column("deployment", name, nullable=False)


def _replicas() -> None:
    op.add_column("replica", sa.Column("revision", sa.Integer()))
    op.add_column("replica", sa.Column("model", sa.Text()))
    op.execute(
        "UPDATE replica SET revision = 1, model = d.model FROM deployment d"
        " WHERE d.deployment_id = replica.deployment_id"
    )
    op.alter_column("replica", "revision", nullable=False)
    op.alter_column("replica", "model", nullable=False)


def _revisions() -> None:
    op.create_table(
        "deployment_revision",
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("asked_ns", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("deployment_id", "number", name="pk_deployment_revision"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployment.deployment_id"],
            name="fk_deployment_revision_deployment_id",
        ),
    )
    op.execute(
        "INSERT INTO deployment_revision"
        " (deployment_id, number, settings, asked_ns, outcome, reason, ended_ns)"
        " SELECT deployment_id, 1, jsonb_build_object('model', model, 'gpu', gpu, 'context',"
        " context, 'concurrency', concurrency, 'price_max_nano', price_max_nano, 'wishes', wishes,"
        " 'secrets', '[]'::jsonb, 'arguments', '[]'::jsonb), asked_ns, 'complete', '', asked_ns"
        " FROM deployment"
    )


def _logs() -> None:
    op.create_table(
        "lease_log_size",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.Column("written_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("lease_id", name="pk_lease_log_size"),
    )
    op.create_index("ix_lease_log_size_written_at", "lease_log_size", ["written_at"])
    op.execute(
        "INSERT INTO lease_log_size (lease_id, bytes, lines, newest, written_at)"
        " SELECT lease_id, sum(octet_length(line)), count(*), max(number), now()"
        " FROM lease_log GROUP BY lease_id"
    )


def downgrade() -> None:
    op.drop_table("lease_log_size")
    op.drop_table("deployment_revision")
    op.drop_column("replica", "model")
    op.drop_column("replica", "revision")
    for name in (
        "drain_seconds",
        "progress_seconds",
        "max_unavailable",
        "max_surge",
        "rollout_reason",
        "rollout_ns",
        "stable_revision",
        "revision",
        "arguments",
        "secrets",
    ):
        op.drop_column("deployment", name)
    op.drop_table("lease_secret")
    op.drop_table("account_secret")
