"""Rented machines: intents, cloud accounts, unknown machines, sweeps, alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("lease", sa.Column("awaits_mib", sa.BigInteger(), nullable=True))
    op.add_column("lease", sa.Column("joined_ns", sa.BigInteger(), nullable=True))
    op.add_column("node", sa.Column("rented", sa.Boolean(), nullable=True))
    op.execute("UPDATE node SET rented = false")
    op.alter_column("node", "rented", nullable=False)
    _intents()
    _accounts()
    _unknown()


def _intents() -> None:
    op.create_table(
        "provision_intent",
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("offer", postgresql.JSONB(), nullable=False),
        sa.Column("disk_gib", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("price_nano", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano_hour", sa.BigInteger(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tag", sa.Text()),
        sa.Column("machine_id", sa.Text()),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("seen_state", sa.Text(), nullable=False),
        sa.Column("seen_said", sa.Text(), nullable=False),
        sa.Column("seen_ns", sa.BigInteger()),
        sa.Column("missing_ns", sa.BigInteger()),
        sa.Column("missing_count", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("planned_ns", sa.BigInteger(), nullable=False),
        sa.Column("ordered_ns", sa.BigInteger()),
        sa.Column("made_ns", sa.BigInteger()),
        sa.Column("boot_by_ns", sa.BigInteger()),
        sa.Column("enrolled_ns", sa.BigInteger()),
        sa.Column("serving_ns", sa.BigInteger()),
        sa.Column("ending_ns", sa.BigInteger()),
        sa.Column("ended_ns", sa.BigInteger()),
        *_stated(),
        *_worked(),
        sa.PrimaryKeyConstraint("intent_id", name="pk_provision_intent"),
        sa.UniqueConstraint("replica_id", name="uq_provision_intent_replica_id"),
        sa.UniqueConstraint("lease_id", name="uq_provision_intent_lease_id"),
        sa.UniqueConstraint("node_id", name="uq_provision_intent_node_id"),
        sa.UniqueConstraint("tag", name="uq_provision_intent_tag"),
        sa.ForeignKeyConstraint(
            ["lease_id"], ["lease.lease_id"], name="fk_provision_intent_lease_id"
        ),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_provision_intent_node_id"),
        sa.CheckConstraint(
            "price_nano >= 0 AND cost_nano_hour >= 0",
            name=op.f("ck_provision_intent_no_negative_price"),
        ),
    )
    op.create_index("ix_provision_intent_due_at", "provision_intent", ["due_at"])
    op.create_index("ix_provision_intent_cloud_state", "provision_intent", ["cloud", "state"])
    op.create_index("ix_provision_intent_machine", "provision_intent", ["cloud", "machine_id"])


def _accounts() -> None:
    op.create_table(
        "cloud_account",
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("frozen_ns", sa.BigInteger()),
        sa.Column("frozen_reason", sa.Text(), nullable=False),
        sa.Column("allowed_unknown", postgresql.JSONB(), nullable=False),
        sa.Column("database_mark", sa.Text(), nullable=False),
        sa.Column("listed_ns", sa.BigInteger()),
        *_stated(),
        sa.PrimaryKeyConstraint("cloud", name="pk_cloud_account"),
    )
    op.create_table(
        "cloud_sweep",
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("began_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("machines", sa.Integer(), nullable=False),
        sa.Column("ours", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("destroyed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cloud", "began_ns", name="pk_cloud_sweep"),
    )


def _unknown() -> None:
    op.create_table(
        "unknown_machine",
        sa.Column("unknown_id", sa.Text(), nullable=False),
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("cost_nano_hour", sa.BigInteger(), nullable=False),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("asked_ns", sa.BigInteger()),
        sa.Column("ended_ns", sa.BigInteger()),
        sa.Column("last_error", sa.Text(), nullable=False),
        *_stated(),
        sa.PrimaryKeyConstraint("unknown_id", name="pk_unknown_machine"),
    )
    op.create_index(
        "ix_unknown_machine_live",
        "unknown_machine",
        ["cloud"],
        postgresql_where=sa.text("state <> 'gone'"),
    )
    op.create_table(
        "cloud_alert",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("subject", "kind", name="pk_cloud_alert"),
    )


def _stated() -> list[sa.Column[object]]:
    return [
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", AT, nullable=False),
    ]


def _worked() -> list[sa.Column[object]]:
    return [
        sa.Column("due_at", AT),
        sa.Column("work_token", sa.Text()),
        sa.Column("work_owner", sa.Text()),
        sa.Column("work_until", AT),
    ]


def downgrade() -> None:
    for table in (
        "cloud_alert",
        "unknown_machine",
        "cloud_sweep",
        "cloud_account",
        "provision_intent",
    ):
        op.drop_table(table)
    op.drop_column("node", "rented")
    op.drop_column("lease", "joined_ns")
    op.drop_column("lease", "awaits_mib")
