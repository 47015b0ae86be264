"""Costs by source, hour, subject and key; what clouds billed; top-ups found by their kind."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision: str | None = "0030"
branch_labels = None
depends_on = None

COLUMNS = ("subject", "key_id", "source")
TABLES = """
CREATE UNIQUE INDEX uq_cost_record_source ON cost_record (source, created_at, key_id, who)
    WHERE source <> '';

CREATE TABLE cost_cursor (
    source TEXT NOT NULL,
    until_ns BIGINT NOT NULL,
    recorded_nano BIGINT NOT NULL,
    skipped_nano BIGINT NOT NULL,
    done BOOLEAN NOT NULL,
    CONSTRAINT pk_cost_cursor PRIMARY KEY (source)
);

CREATE INDEX ix_cost_cursor_open ON cost_cursor (source) WHERE NOT done;

CREATE TABLE cloud_bill_line (
    cloud TEXT NOT NULL,
    statement TEXT NOT NULL,
    line TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    from_at TIMESTAMPTZ NOT NULL,
    until_at TIMESTAMPTZ NOT NULL,
    amount_nano BIGINT NOT NULL,
    taken_from TEXT NOT NULL,
    added_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_cloud_bill_line PRIMARY KEY (cloud, statement, line),
    CONSTRAINT ck_cloud_bill_line_span CHECK (from_at < until_at)
);

CREATE INDEX ix_cloud_bill_line_from_at ON cloud_bill_line (cloud, from_at);

CREATE INDEX ix_journal_tx_purchase ON journal_tx (id) WHERE kind = 'purchase'
"""


def upgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE cost_record ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    for statement in TABLES.split(";\n\n"):
        op.execute(statement.strip())


def downgrade() -> None:
    op.execute("DROP INDEX ix_journal_tx_purchase")
    op.execute("DROP TABLE cloud_bill_line")
    op.execute("DROP TABLE cost_cursor")
    op.execute("DROP INDEX uq_cost_record_source")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE cost_record DROP COLUMN {column}")
