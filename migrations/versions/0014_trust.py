"""Checks, scores, maintenance windows; a node's standing is looked at by every claim."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)
NODE_TABLES = ("node_standing", "maintenance_window", "node_outage", "reliability_event")
TABLES = (
    "check_finding",
    "work_check",
    "check_mode",
    "preflight_report",
    "node_trust",
    "maintenance_told",
    *reversed(NODE_TABLES),
)


def upgrade() -> None:
    _standing()
    _windows()
    _reliability()
    _checks()
    op.execute(CLAIM.format(declared=DECLARED, judged=JUDGED))


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _big(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _maybe(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger()) for name in names]


def _of_node(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=f"fk_{table}_node_id")


def _standing() -> None:
    op.create_table(
        "node_standing",
        *_text("node_id", "withheld"),
        sa.Column("reliability_ppm", sa.Integer(), nullable=False),
        *_maybe("closed_from_ns", "closed_until_ns"),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_standing"),
        _of_node("node_standing"),
    )


def _windows() -> None:
    op.create_table(
        "maintenance_window",
        *_text("window_id", "node_id", "reason"),
        *_big("from_ns", "until_ns", "notice_ns", "announced_ns"),
        *_maybe("cancelled_ns"),
        sa.PrimaryKeyConstraint("window_id", name="pk_maintenance_window"),
        sa.CheckConstraint("until_ns > from_ns", name=op.f("ck_maintenance_window_some_time")),
        _of_node("maintenance_window"),
    )
    op.create_index("ix_maintenance_window_node_id", "maintenance_window", ["node_id"])
    op.create_table(
        "maintenance_told",
        *_text("window_id", "lease_id", "what"),
        *_big("told_ns"),
        sa.PrimaryKeyConstraint("window_id", "lease_id", "what", name="pk_maintenance_told"),
        sa.ForeignKeyConstraint(
            ["window_id"], ["maintenance_window.window_id"], name="fk_maintenance_told_window_id"
        ),
    )


def _reliability() -> None:
    op.create_table(
        "node_outage",
        *_text("node_id"),
        sa.Column("from_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        *_maybe("until_ns"),
        sa.PrimaryKeyConstraint("node_id", "from_ns", name="pk_node_outage"),
        _of_node("node_outage"),
    )
    op.create_table(
        "reliability_event",
        *_text("node_id", "kind", "subject", "detail"),
        *_big("at_ns", "seconds"),
        sa.PrimaryKeyConstraint("node_id", "kind", "subject", name="pk_reliability_event"),
        _of_node("reliability_event"),
    )
    op.create_table(
        "node_trust",
        *_text("node_id"),
        *_big("scored_ns", "due_ns"),
        sa.Column("ppm", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_trust"),
        _of_node("node_trust"),
    )
    op.create_index("ix_node_trust_scored_ns", "node_trust", ["scored_ns"])
    op.create_index("ix_node_trust_due_ns", "node_trust", ["due_ns"])


def _checks() -> None:
    op.create_table(
        "preflight_report",
        *_text("node_id"),
        sa.Column("at_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("points", JSONB(), nullable=False),
        *_text("fatal"),
        sa.PrimaryKeyConstraint("node_id", "at_ns", name="pk_preflight_report"),
        _of_node("preflight_report"),
    )
    op.create_table(
        "check_mode",
        *_text("kind", "mode", "changed_by"),
        *_big("since_ns"),
        sa.PrimaryKeyConstraint("kind", name="pk_check_mode"),
    )
    op.create_table(
        "work_check",
        *_text("check_id", "group_id", "node_id", "gpu_uuid", "gpu_name", "host_boot_id"),
        sa.Column("ordered", sa.LargeBinary(), nullable=False),
        sa.Column("sample", sa.LargeBinary()),
        sa.Column("told", sa.LargeBinary()),
        *_text("recall_key"),
        *_big("asked_ns", "deadline_ns"),
        *_maybe("handed_ns", "committed_ns", "recall_ns", "recalled_ns", "opened_ns", "refused_ns"),
        *_maybe("contradicted_ns"),
        *_text("state"),
        sa.Column("version", sa.Integer(), nullable=False),
        *_text("state_reason"),
        sa.Column("state_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("check_id", name="pk_work_check"),
        _of_node("work_check"),
    )
    op.create_index("ix_work_check_state", "work_check", ["state", "asked_ns"])
    op.create_index("ix_work_check_node_id", "work_check", ["node_id", "asked_ns"])
    op.create_table(
        "check_finding",
        *_text("check_id", "kind", "node_id", "gpu_uuid", "host_boot_id"),
        sa.Column("passed", sa.Boolean(), nullable=False),
        *_text("mode", "reason"),
        *_big("at_ns"),
        sa.PrimaryKeyConstraint("check_id", "kind", name="pk_check_finding"),
        _of_node("check_finding"),
    )
    op.create_index("ix_check_finding_node_id", "check_finding", ["node_id", "at_ns"])


def downgrade() -> None:
    op.execute(CLAIM.format(declared="", judged=""))
    for table in TABLES:
        op.drop_table(table)


DECLARED = "standing record; "
JUDGED = """
    SELECT s.withheld, s.closed_from_ns <= p_now AND p_now < s.closed_until_ns AS closed
    INTO standing FROM node_standing s WHERE s.node_id = p_node;
    IF refused <> '' THEN NULL;
    ELSIF standing.withheld <> '' THEN refused := 'withheld'; detail := standing.withheld;
    ELSIF standing.closed THEN refused := 'maintenance';
    END IF;"""

# As in 0009, but for what checks found and for announced maintenance.
CLAIM = """
CREATE OR REPLACE FUNCTION fleet_claim(
    p_lease text, p_node text, p_replica text, p_deployment text, p_gpus int, p_vram bigint,
    p_price_max bigint, p_launch bytea, p_ttl int, p_now bigint, p_state text, p_reason text,
    p_at timestamptz
) RETURNS TABLE (refused text, detail text, epoch bigint, generation bigint, account_id text,
                 price_nano bigint, gpu_uuids text[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE seen record; {declared}
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
    END IF;{judged}
    IF refused = '' THEN
        SELECT array_agg(free.gpu_uuid ORDER BY free.position) INTO gpu_uuids FROM (
            SELECT kind.gpu_uuid, kind.position FROM (
                SELECT g.gpu_uuid, g.position, g.memory_mib, g.name,
                       count(*) OVER (PARTITION BY g.memory_mib, g.name) AS alike
                FROM node_gpu g
                WHERE g.node_id = p_node AND NOT g.lost AND NOT g.foreign_use AND g.unhealthy = ''
                  AND g.memory_mib >= p_vram
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
