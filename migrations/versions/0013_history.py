"""Telemetry rolled up; GPUs that are not healthy are not claimed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"
branch_labels = None
depends_on = None

SLOTS = 5
FREE = "NOT g.foreign_use"
FIT = "NOT g.foreign_use AND g.unhealthy = ''"


def upgrade() -> None:
    column = sa.Column("unhealthy", sa.Text(), nullable=False, server_default="")
    op.add_column("node_gpu", column)
    op.alter_column("node_gpu", "unhealthy", server_default=None)
    _change_claim(FREE, FIT)
    for name in ("history_10s", "history_1m", "history_1h"):
        _samples(name)
    op.create_table(
        "history_flush",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("minute_s", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rolled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_history_flush"),
    )
    op.create_index("ix_history_flush_minute_s", "history_flush", ["minute_s"])
    op.create_table(
        "history_dirty_hour",
        sa.Column("hour_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("hour_s", name="pk_history_dirty_hour"),
    )


def _samples(name: str) -> None:
    columns = [
        sa.Column("series", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_s", sa.BigInteger(), autoincrement=False, nullable=False),
    ]
    columns += [sa.Column(f"total_{k}", sa.BigInteger(), nullable=False) for k in range(SLOTS)]
    for one in ("n", "low", "high"):
        columns += [sa.Column(f"{one}_{k}", sa.Integer(), nullable=False) for k in range(SLOTS)]
    key = (
        []
        if name == "history_10s"
        else [sa.PrimaryKeyConstraint("series", "at_s", name=f"pk_{name}")]
    )
    op.create_table(name, *columns, *key, postgresql_partition_by="RANGE (at_s)")
    if not key:
        op.create_index(f"ix_{name}_series_at_s", name, ["series", "at_s"])
    op.create_index(f"ix_{name}_at_s", name, ["at_s"], postgresql_using="brin")


def downgrade() -> None:
    for name in ("history_dirty_hour", "history_flush", "history_1h", "history_1m", "history_10s"):
        op.drop_table(name)
    _change_claim(FIT, FREE)
    op.drop_column("node_gpu", "unhealthy")


def _change_claim(old: str, new: str) -> None:
    """Put one condition in the place of another in ``fleet_claim``, whatever else is in it."""
    op.execute(
        f"""
DO $do$
DECLARE before text := pg_get_functiondef('fleet_claim'::regproc);
BEGIN
    IF position($old${old}$old$ IN before) = 0 THEN
        RAISE EXCEPTION 'fleet_claim does not say %', $old${old}$old$;
    END IF;
    EXECUTE replace(before, $old${old}$old$, $new${new}$new$);
END $do$
"""
    )
