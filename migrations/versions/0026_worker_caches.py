"""What gateways tell of workers' KV caches, of deployments that follow their load."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision: str | None = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A gateway that does not tell of them has none."""
    op.add_column(
        "deployment_load", sa.Column("caches", sa.Double(), server_default="0", nullable=False)
    )
    op.add_column(
        "deployment_load", sa.Column("queued", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("deployment_load", "queued")
    op.drop_column("deployment_load", "caches")
