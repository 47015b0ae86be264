"""GPUs that others use, as measured by the agent, are not claimed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("foreign_use", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("node_gpu", column)
    op.alter_column("node_gpu", "foreign_use", server_default=None)
    op.execute(CLAIM.format(free=" AND NOT g.foreign_use"))


def downgrade() -> None:
    op.execute(CLAIM.format(free=""))
    op.drop_column("node_gpu", "foreign_use")


# As in 0008, but for which GPUs are free.
CLAIM = """
CREATE OR REPLACE FUNCTION fleet_claim(
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
                WHERE g.node_id = p_node AND NOT g.lost{free} AND g.memory_mib >= p_vram
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
