"""Limits on spending, warnings of low credit, and what work costs us."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision: str | None = "0027"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE spending_limit (
    account_id TEXT NOT NULL,
    span TEXT NOT NULL,
    limit_nano BIGINT NOT NULL,
    CONSTRAINT pk_spending_limit PRIMARY KEY (account_id, span),
    CONSTRAINT ck_spending_limit_span CHECK (span IN ('day', 'month')),
    CONSTRAINT ck_spending_limit_limit CHECK (limit_nano >= 0)
);

CREATE TABLE spending_day (
    account_id TEXT NOT NULL,
    day DATE NOT NULL,
    nano BIGINT NOT NULL,
    CONSTRAINT pk_spending_day PRIMARY KEY (account_id, day)
);

CREATE TABLE spending_alert (
    account_id TEXT NOT NULL,
    threshold_nano BIGINT,
    email TEXT NOT NULL,
    below BOOLEAN NOT NULL,
    stop_told_at TIMESTAMPTZ,
    CONSTRAINT pk_spending_alert PRIMARY KEY (account_id)
);

CREATE TABLE cost_record (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    unit TEXT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    who TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_cost_record PRIMARY KEY (id)
);

CREATE INDEX ix_cost_record_created_at ON cost_record (created_at);

CREATE VIEW cost_tracking AS
    SELECT id, kind AS type, provider, model, unit, units,
           cost_nano::numeric / 1000000000 AS cost, who, created_at
    FROM cost_record
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n\n"):
        op.execute(statement.strip())


def downgrade() -> None:
    op.execute("DROP VIEW cost_tracking")
    for table in ("cost_record", "spending_alert", "spending_day", "spending_limit"):
        op.execute(f"DROP TABLE {table}")
