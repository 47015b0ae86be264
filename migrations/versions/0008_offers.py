"""Clouds' offers, how their refreshes go, and what became of attempts to rent them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _offers()
    _refreshes()
    _history()
    _blocks()


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _big(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _offers() -> None:
    op.create_table(
        "cloud_offer",
        *_text("cloud", "key", "gpu_name", "region", "host"),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("spot", sa.Boolean(), nullable=False),
        sa.Column("secure", sa.Boolean(), nullable=False),
        *_big("vram_mib", "price_nano", "storage_nano_gib_hour", "egress_nano_gib"),
        *_big("disk_gib_included", "first_seen_ns", "changed_ns"),
        sa.Column("free", sa.Integer()),
        sa.Column("reliability_ppm", sa.Integer()),
        sa.Column("boot_seconds", sa.Integer()),
        sa.Column("disk_gib_max", sa.BigInteger()),
        sa.Column("seconds_max", sa.BigInteger()),
        sa.Column("gone_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("cloud", "key", name="pk_cloud_offer"),
        sa.CheckConstraint("price_nano > 0", name=op.f("ck_cloud_offer_price")),
        sa.CheckConstraint("gpus > 0", name=op.f("ck_cloud_offer_gpus")),
    )
    op.create_index(
        "ix_cloud_offer_gone",
        "cloud_offer",
        ["gone_ns"],
        postgresql_where=sa.text("gone_ns IS NOT NULL"),
    )


def _refreshes() -> None:
    op.create_table(
        "offer_refresh",
        *_text("cloud", "failure", "refused"),
        *_big("ok_ns", "tried_ns", "changes"),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due_at", AT),
        sa.Column("work_token", sa.Text()),
        sa.Column("work_owner", sa.Text()),
        sa.Column("work_until", AT),
        sa.PrimaryKeyConstraint("cloud", name="pk_offer_refresh"),
    )
    op.create_index("ix_offer_refresh_due_at", "offer_refresh", ["due_at"])


def _history() -> None:
    op.create_table(
        "offer_history",
        *_text("cloud", "region", "gpu_name", "host"),
        *_big("served", "failed", "interrupted", "boots", "boot_seconds", "updated_ns"),
        sa.PrimaryKeyConstraint("cloud", "region", "gpu_name", "host", name="pk_offer_history"),
    )
    op.create_table(
        "offer_model",
        *_text("cloud", "region", "host", "model"),
        *_big("served_ns"),
        sa.PrimaryKeyConstraint("cloud", "region", "host", "model", name="pk_offer_model"),
    )


def _blocks() -> None:
    op.create_table(
        "offer_block",
        *_text("cloud", "region", "gpu_name", "host", "offer_key", "kind", "reason"),
        sa.Column("strikes", sa.Integer(), nullable=False),
        *_big("began_ns", "until_ns"),
        sa.Column("probe_until_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint(
            "cloud", "region", "gpu_name", "host", "offer_key", "kind", name="pk_offer_block"
        ),
    )


def downgrade() -> None:
    for table in ("offer_block", "offer_model", "offer_history", "offer_refresh", "cloud_offer"):
        op.drop_table(table)
