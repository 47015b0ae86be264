"""Tables of marketplace and fleet: providers, nodes, beats, GPUs, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _marketplace()
    _nodes()
    _agents()
    _leases()
    _lease_parts()


def _marketplace() -> None:
    op.create_table(
        "provider",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_provider"),
    )
    op.create_table(
        "join_token",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("expires_at", AT, nullable=False),
        sa.Column("used_at", AT),
        sa.Column("node_id", sa.Text()),
        sa.PrimaryKeyConstraint("token_id", name="pk_join_token"),
        sa.UniqueConstraint("digest", name="uq_join_token_digest"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider.account_id"], name="fk_join_token_account_id"
        ),
    )
    op.create_index("ix_join_token_account_id", "join_token", ["account_id"])
    op.create_table(
        "node",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("price_nano", sa.BigInteger(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("revoked_at", AT),
        sa.PrimaryKeyConstraint("node_id", name="pk_node"),
        sa.UniqueConstraint("public_key", name="uq_node_public_key"),
        sa.ForeignKeyConstraint(["account_id"], ["provider.account_id"], name="fk_node_account_id"),
        sa.CheckConstraint("price_nano >= 0", name=op.f("ck_node_price_not_negative")),
    )
    op.create_index("ix_node_account_id", "node", ["account_id"])


def _nodes() -> None:
    op.create_table(
        "fleet_node",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("host_boot_id", sa.Text(), nullable=False),
        sa.Column("agent_start_id", sa.Text(), nullable=False),
        sa.Column("agent_version", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("nvml", sa.Text(), nullable=False),
        sa.Column("quarantined", sa.Text(), nullable=False),
        sa.Column("silent_since_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("node_id", name="pk_fleet_node"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_fleet_node_node_id"),
    )
    op.create_index("ix_fleet_node_xid", "fleet_node", ["xid"])
    op.create_table(
        "node_beat",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("agent_start_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ns", sa.BigInteger(), nullable=False),
        sa.Column("generation_applied", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_beat"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "node_gpu",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("gpu_uuid", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("memory_mib", sa.BigInteger(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "gpu_uuid", name="pk_node_gpu"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_node_gpu_node_id"),
    )
    op.create_index("ix_node_gpu_gpu_uuid", "node_gpu", ["gpu_uuid"])


def _agents() -> None:
    op.create_table(
        "agent_session",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("agent_start_id", sa.Text(), nullable=False),
        sa.Column("at", AT, nullable=False),
        sa.PrimaryKeyConstraint("node_id", "nonce", name="pk_agent_session"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_agent_session_node_id"),
    )
    op.create_table(
        "fleet_reception",
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("boot_id", name="pk_fleet_reception"),
    )


def _leases() -> None:
    op.create_table(
        "lease",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("replica_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("gpu_count", sa.Integer(), nullable=False),
        sa.Column("launch", sa.LargeBinary(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("renewed_ns", sa.BigInteger(), nullable=False),
        sa.Column("stop_asked_ns", sa.BigInteger()),
        sa.Column("closed_ns", sa.BigInteger()),
        sa.Column("outcome", sa.Text()),
        sa.Column("seen_state", sa.Text()),
        sa.Column("seen_reason", sa.Text(), nullable=False),
        sa.Column("seen_port", sa.Integer(), nullable=False),
        sa.Column("seen_restarts", sa.Integer(), nullable=False),
        sa.Column("seen_ns", sa.BigInteger()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("lease_id", name="pk_lease"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_lease_node_id"),
        sa.CheckConstraint("gpu_count > 0", name=op.f("ck_lease_some_gpus")),
        sa.CheckConstraint("epoch > 0", name=op.f("ck_lease_epoch_from_one")),
    )
    op.create_index("ix_lease_replica_id", "lease", ["replica_id"])
    op.create_index(
        "ix_lease_node_live",
        "lease",
        ["node_id"],
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_index("uq_lease_node_epoch", "lease", ["node_id", "epoch"], unique=True)


def _lease_parts() -> None:
    op.create_table(
        "lease_gpu",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("gpu_uuid", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lease_id", "gpu_uuid", name="pk_lease_gpu"),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.lease_id"], name="fk_lease_gpu_lease_id"),
    )
    op.create_index(
        "uq_lease_gpu_live",
        "lease_gpu",
        ["node_id", "gpu_uuid"],
        unique=True,
        postgresql_where=sa.text("live"),
    )
    op.create_index(
        "ix_lease_gpu_live_uuid", "lease_gpu", ["gpu_uuid"], postgresql_where=sa.text("live")
    )

    op.create_table(
        "lease_log",
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lease_id", "number", name="pk_lease_log"),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.lease_id"], name="fk_lease_log_lease_id"),
    )


def downgrade() -> None:
    for table in (
        "lease_log",
        "lease_gpu",
        "lease",
        "fleet_reception",
        "agent_session",
        "node_gpu",
        "node_beat",
        "fleet_node",
        "node",
        "join_token",
        "provider",
    ):
        op.drop_table(table)
