"""Limits of API keys on what they use in a day or a month."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision: str | None = "0029"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE key_limit (
    key_id TEXT NOT NULL,
    span TEXT NOT NULL,
    account_id TEXT NOT NULL,
    limit_nano BIGINT NOT NULL,
    spent_nano BIGINT NOT NULL,
    reached BOOLEAN NOT NULL,
    CONSTRAINT pk_key_limit PRIMARY KEY (key_id, span),
    CONSTRAINT ck_key_limit_span CHECK (span IN ('day', 'month')),
    CONSTRAINT ck_key_limit_limit CHECK (limit_nano >= 0)
);

CREATE INDEX ix_key_limit_reached ON key_limit (key_id) WHERE reached;

CREATE TABLE key_day (
    key_id TEXT NOT NULL,
    day DATE NOT NULL,
    nano BIGINT NOT NULL,
    CONSTRAINT pk_key_day PRIMARY KEY (key_id, day)
)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n\n"):
        op.execute(statement.strip())


def downgrade() -> None:
    op.execute("DROP TABLE key_day")
    op.execute("DROP TABLE key_limit")
