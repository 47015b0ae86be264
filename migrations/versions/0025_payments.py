"""Payments: top-ups, what goes back of them, customers, refill rules, processors' lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision: str | None = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _topup()
    _topup_reversal()
    _payment_customer()
    _auto_refill()
    _payment_line()
    _payment_cursor()


def downgrade() -> None:
    for name in (
        "payment_cursor",
        "payment_line",
        "auto_refill",
        "payment_customer",
        "topup_reversal",
        "topup",
    ):
        op.drop_table(name)


def _topup() -> None:
    op.create_table(
        "topup",
        sa.Column("topup_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("credit_nano", sa.BigInteger(), nullable=False),
        sa.Column("rate_nano", sa.BigInteger(), nullable=False),
        sa.Column("rate_version", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("payer", sa.Text(), nullable=True),
        sa.Column("payer_label", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("payment", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("hard", sa.Boolean(), nullable=False),
        sa.Column("called_off", sa.Boolean(), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("work_token", sa.Text(), nullable=True),
        sa.Column("work_owner", sa.Text(), nullable=True),
        sa.Column("work_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "amount_minor > 0 AND credit_nano = amount_minor * rate_nano", name=op.f("ck_topup_sum")
        ),
        sa.PrimaryKeyConstraint("topup_id", name=op.f("pk_topup")),
        sa.UniqueConstraint("processor", "reference", name=op.f("uq_topup_processor_reference")),
    )
    op.create_index("ix_topup_account", "topup", ["account_id", "topup_id"], unique=False)
    op.create_index(op.f("ix_topup_due_at"), "topup", ["due_at"], unique=False)
    op.create_index("ix_topup_payment", "topup", ["processor", "payment"], unique=False)
    op.create_index(
        "uq_topup_automatic",
        "topup",
        ["account_id"],
        unique=True,
        postgresql_where=sa.text(
            "automatic AND state IN ('created', 'asked', 'processing', 'needs_payer', 'parked')"
        ),
    )


def _topup_reversal() -> None:
    op.create_table(
        "topup_reversal",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("topup_id", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ours", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("work_token", sa.Text(), nullable=True),
        sa.Column("work_owner", sa.Text(), nullable=True),
        sa.Column("work_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('refund', 'dispute')", name=op.f("ck_topup_reversal_kind")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_topup_reversal_amount")),
        sa.ForeignKeyConstraint(
            ["topup_id"], ["topup.topup_id"], name=op.f("fk_topup_reversal_topup_id")
        ),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("pk_topup_reversal")),
        sa.UniqueConstraint(
            "processor", "reference", name=op.f("uq_topup_reversal_processor_reference")
        ),
    )
    op.create_index(op.f("ix_topup_reversal_due_at"), "topup_reversal", ["due_at"], unique=False)
    op.create_index(
        op.f("ix_topup_reversal_topup_id"), "topup_reversal", ["topup_id"], unique=False
    )


def _payment_customer() -> None:
    op.create_table(
        "payment_customer",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "processor", name=op.f("pk_payment_customer")),
    )


def _auto_refill() -> None:
    op.create_table(
        "auto_refill",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("threshold_nano", sa.BigInteger(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("day_max_nano", sa.BigInteger(), nullable=False),
        sa.Column("month_max_nano", sa.BigInteger(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("card_label", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("work_token", sa.Text(), nullable=True),
        sa.Column("work_owner", sa.Text(), nullable=True),
        sa.Column("work_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "day_max_nano >= amount_nano AND month_max_nano >= amount_nano",
            name=op.f("ck_auto_refill_cap"),
        ),
        sa.CheckConstraint(
            "threshold_nano >= 0 AND amount_nano > 0", name=op.f("ck_auto_refill_amounts")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_auto_refill")),
    )
    op.create_index(op.f("ix_auto_refill_due_at"), "auto_refill", ["due_at"], unique=False)


def _payment_line() -> None:
    op.create_table(
        "payment_line",
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payment", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("processor", "reference", name=op.f("pk_payment_line")),
    )
    op.create_index(
        "ix_payment_line_payment", "payment_line", ["processor", "payment"], unique=False
    )


def _payment_cursor() -> None:
    op.create_table(
        "payment_cursor",
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("read_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("processor", name=op.f("pk_payment_cursor")),
    )
