"""Minute records of agents, disputes and what goes back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None

UNWITNESSED = "finished AND witnessed_ns IS NULL AND provider IS NOT NULL"


def _whole(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def upgrade() -> None:
    op.add_column("meter_lease", sa.Column("witnessed_ns", sa.BigInteger()))
    # What ended before nodes signed anything is not judged by that.
    op.execute("UPDATE meter_lease SET witnessed_ns = closed_ns WHERE closed_ns IS NOT NULL")
    op.create_index(
        "ix_meter_lease_unwitnessed",
        "meter_lease",
        ["closed_ns"],
        postgresql_where=sa.text(UNWITNESSED),
    )
    op.create_index("ix_meter_lease_provider", "meter_lease", ["provider"])
    op.add_column("storage_bill", sa.Column("provider", sa.Text()))
    op.create_index("ix_storage_bill_provider", "storage_bill", ["provider", "until_ns"])
    op.create_table(
        "lease_credit",
        *_texts("lease_id"),
        *_whole("gpu_ns", "credit_nano", "taken_back_nano"),
        *_texts("reason"),
        *_whole("at_ns"),
        sa.PrimaryKeyConstraint("lease_id", name="pk_lease_credit"),
        sa.ForeignKeyConstraint(
            ["lease_id"], ["meter_lease.lease_id"], name="fk_lease_credit_lease_id_meter_lease"
        ),
    )
    op.create_table(
        "lease_minute",
        *_texts("lease_id"),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        *_whole("epoch", "start_ns", "end_ns", "container_ns", "gpu_ns"),
        *_texts("previous", "hash", "signature"),
        *_whole("received_ns"),
        sa.PrimaryKeyConstraint("lease_id", "number", name="pk_lease_minute"),
    )
    op.create_table(
        "lease_witness",
        *_texts("lease_id", "node_id"),
        *_whole("gpus", "number"),
        *_texts("head"),
        *_whole("end_ns", "container_ns", "gpu_ns"),
        *_texts("broken"),
        sa.Column("judged_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("lease_id", name="pk_lease_witness"),
    )
    op.create_table(
        "dispute",
        *_texts("dispute_id", "lease_id", "payer", "provider", "kind", "reason"),
        *_whole("billed_gpu_ns", "signed_gpu_ns", "credit_nano", "at_ns"),
        sa.PrimaryKeyConstraint("dispute_id", name="pk_dispute"),
    )
    op.create_index("uq_dispute_lease_id", "dispute", ["lease_id"], unique=True)
    op.create_index("ix_dispute_payer", "dispute", ["payer", "dispute_id"])
    op.create_index("ix_dispute_provider", "dispute", ["provider", "dispute_id"])


def downgrade() -> None:
    for table in ("dispute", "lease_witness", "lease_minute", "lease_credit"):
        op.drop_table(table)
    op.drop_index("ix_storage_bill_provider", "storage_bill")
    op.drop_column("storage_bill", "provider")
    op.drop_index("ix_meter_lease_provider", "meter_lease")
    op.drop_index("ix_meter_lease_unwitnessed", "meter_lease")
    op.drop_column("meter_lease", "witnessed_ns")
