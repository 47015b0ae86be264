"""Payouts: where providers are paid, every payout, and the least amount of one."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision: str | None = "0023"
branch_labels = None
depends_on = None

STAMP = sa.DateTime(timezone=True)
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
MINIMUM_NANO = 10_000_000_000
UNDER_WAY = "state IN ('asked', 'submitted', 'submitting', 'unknown')"


def upgrade() -> None:
    """Both tables, and ten dollars as the first figure of the least payout."""
    _destinations()
    _payouts()
    rate = sa.table(
        "rate",
        sa.column("name", sa.Text()),
        sa.column("starts_at", STAMP),
        sa.column("value", sa.BigInteger()),
        sa.column("unit", sa.Text()),
    )
    first = {"name": "payout_minimum", "starts_at": BEGINNING, "value": MINIMUM_NANO}
    op.bulk_insert(rate, [first | {"unit": "nano-dollars"}])


def _destinations() -> None:
    op.create_table(
        "payout_destination",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("checked_at", STAMP, nullable=False),
        sa.Column("changed_at", STAMP, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_payout_destination"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider.account_id"], name="fk_payout_destination_account_id"
        ),
        sa.CheckConstraint(
            "method IN ('stripe', 'momo')", name=op.f("ck_payout_destination_method")
        ),
    )


def _payouts() -> None:
    op.create_table(
        "payout",
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("period", "method", "address", "currency", "rate_version")
        ),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("nano", "amount_minor", "nano_per_unit")
        ),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("reference", sa.Text()),
        sa.Column("called_at", STAMP),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("seen_minor", sa.BigInteger()),
        sa.Column("seen_currency", sa.Text()),
        sa.Column("created_at", STAMP, nullable=False),
        sa.Column("settled_at", STAMP),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", STAMP, nullable=False),
        sa.Column("due_at", STAMP),
        sa.Column("work_token", sa.Text()),
        sa.Column("work_owner", sa.Text()),
        sa.Column("work_until", STAMP),
        sa.PrimaryKeyConstraint("payout_id", name="pk_payout"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["provider.account_id"], name="fk_payout_account_id"
        ),
        sa.CheckConstraint("amount_minor > 0 AND nano > 0", name=op.f("ck_payout_amount")),
    )
    once = {"unique": True, "postgresql_where": sa.text("state <> 'failed'")}
    op.create_index("uq_payout_period", "payout", ["account_id", "period"], **once)
    alone = {"unique": True, "postgresql_where": sa.text(UNDER_WAY)}
    op.create_index("uq_payout_under_way", "payout", ["account_id"], **alone)
    op.create_index("ix_payout_account", "payout", ["account_id", "payout_id"])
    op.create_index("ix_payout_state", "payout", ["state", "payout_id"])
    op.create_index("ix_payout_due_at", "payout", ["due_at"])


def downgrade() -> None:
    op.drop_table("payout")
    op.drop_table("payout_destination")
    op.execute("DELETE FROM rate WHERE name = 'payout_minimum'")
