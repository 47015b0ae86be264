"""Clouds' offers, how their refreshes go, what became of attempts; a claim in one round trip."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

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
    op.execute(CLAIM)
    _wishes()


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


# Under the node's lock every statement of the function sees what was committed before it: eight
# schedulers at one node take its GPUs one after the other, and none of them twice.
CLAIM = """
CREATE FUNCTION fleet_claim(
    p_lease text, p_node text, p_replica text, p_deployment text, p_gpus int, p_vram bigint,
    p_price_max bigint, p_launch bytea, p_ttl int, p_now bigint, p_state text, p_reason text,
    p_at timestamptz
) RETURNS TABLE (refused text, detail text, epoch bigint, generation bigint, account_id text,
                 price_nano bigint, gpu_uuids text[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE seen record;
BEGIN
    refused := ''; detail := '';
    UPDATE fleet_node f SET generation = f.generation + 1, epoch = f.epoch + 1,
                            xid = pg_current_xact_id()::text::bigint
    FROM node n WHERE f.node_id = p_node AND n.node_id = f.node_id
    RETURNING f.epoch, f.generation, f.quarantined, f.silent_since_ns, n.account_id,
              n.price_nano, n.listed AND n.revoked_at IS NULL AS offered INTO seen;
    epoch := seen.epoch; generation := seen.generation;
    account_id := seen.account_id; price_nano := seen.price_nano;
    IF seen.epoch IS NULL THEN refused := 'unknown';
    ELSIF NOT seen.offered THEN refused := 'withdrawn';
    ELSIF seen.quarantined <> '' THEN refused := 'quarantined'; detail := seen.quarantined;
    ELSIF seen.silent_since_ns IS NOT NULL THEN refused := 'silent';
    ELSIF seen.price_nano > p_price_max THEN refused := 'dearer';
    ELSE
        SELECT array_agg(free.gpu_uuid ORDER BY free.position) INTO gpu_uuids FROM (
            SELECT kind.gpu_uuid, kind.position FROM (
                SELECT g.gpu_uuid, g.position, g.memory_mib, g.name,
                       count(*) OVER (PARTITION BY g.memory_mib, g.name) AS alike
                FROM node_gpu g
                WHERE g.node_id = p_node AND NOT g.lost AND g.memory_mib >= p_vram
                  AND NOT EXISTS (SELECT 1 FROM lease_gpu l
                                  WHERE l.live AND l.gpu_uuid = g.gpu_uuid)
            ) kind WHERE kind.alike >= p_gpus
            ORDER BY kind.memory_mib, kind.name, kind.position LIMIT p_gpus
        ) free;
        IF gpu_uuids IS NULL THEN refused := 'taken'; END IF;
    END IF;
    IF refused = '' THEN
        INSERT INTO lease (lease_id, node_id, epoch, generation, replica_id, deployment_id,
            gpu_count, launch, ttl_seconds, opened_ns, renewed_ns, seen_reason, seen_port,
            seen_restarts, state, version, state_reason, state_at)
        VALUES (p_lease, p_node, seen.epoch, seen.generation, p_replica, p_deployment,
            p_gpus, p_launch, p_ttl, p_now, 0, '', 0, 0, p_state, 1, p_reason, p_at);
        INSERT INTO state_history (entity, entity_id, version, state, reason, at)
        VALUES ('lease', p_lease, 1, p_state, p_reason, p_at);
        INSERT INTO lease_gpu (lease_id, gpu_uuid, node_id, position, live)
        SELECT p_lease, u.uuid, p_node, u.place - 1, true
        FROM unnest(gpu_uuids) WITH ORDINALITY AS u(uuid, place);
    END IF;
    RETURN NEXT;
END $$
"""


def _wishes() -> None:
    """What owners ask of places, and the most that they will spend."""
    kept = sa.Column("wishes", JSONB(), nullable=False, server_default=sa.text("'{}'"))
    op.add_column("deployment", kept)
    op.alter_column("deployment", "wishes", server_default=None)
    op.add_column("deployment", sa.Column("budget_nano", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("deployment", "budget_nano")
    op.drop_column("deployment", "wishes")
    op.execute(
        "DROP FUNCTION fleet_claim(text, text, text, text, int, bigint, bigint, bytea, int,"
        " bigint, text, text, timestamptz)"
    )
    for table in ("offer_block", "offer_model", "offer_history", "offer_refresh", "cloud_offer"):
        op.drop_table(table)
