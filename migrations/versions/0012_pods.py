"""Pods, volumes, SSH keys, registry credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision: str | None = "0011"
branch_labels = None
depends_on = None

_MODE = "ck_meter_lease_mode"
_TEXT, _BIG, _INT = sa.Text(), sa.BigInteger(), sa.Integer()
_AT = sa.DateTime(timezone=True)


def _must(name: str, kind: sa.types.TypeEngine[object]) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=False)


def upgrade() -> None:
    op.add_column("deployment", sa.Column("own_launch", postgresql.JSONB()))
    op.drop_constraint(op.f(_MODE), "meter_lease")
    op.create_check_constraint(op.f(_MODE), "meter_lease", "mode IN ('dedicated', 'pool', 'pod')")
    _pods()
    _volumes()
    _access()
    _money()


def _stated() -> list[sa.Column[object]]:
    return [
        _must("state", _TEXT),
        _must("version", _INT),
        _must("state_reason", _TEXT),
        _must("state_at", _AT),
    ]


def _pods() -> None:
    op.create_table(
        "pod",
        _must("pod_id", _TEXT),
        _must("slug", _TEXT),
        _must("account_id", _TEXT),
        _must("name", _TEXT),
        _must("deployment_id", _TEXT),
        sa.Column("registry_id", _TEXT),
        _must("secrets", sa.ARRAY(_TEXT)),
        _must("delete_volumes", sa.Boolean()),
        _must("created_at", _AT),
        sa.Column("ended_ns", _BIG),
        *_stated(),
        sa.Column("due_at", _AT),
        sa.Column("work_token", _TEXT),
        sa.Column("work_owner", _TEXT),
        sa.Column("work_until", _AT),
        sa.PrimaryKeyConstraint("pod_id", name="pk_pod"),
        sa.UniqueConstraint("slug", name="uq_pod_slug"),
        sa.UniqueConstraint("deployment_id", name="uq_pod_deployment_id"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployment.deployment_id"],
            name="fk_pod_deployment_id_deployment",
        ),
    )
    op.create_index("ix_pod_due_at", "pod", ["due_at"])
    op.create_index(
        "uq_pod_name",
        "pod",
        ["account_id", "name"],
        unique=True,
        postgresql_where=sa.text("ended_ns IS NULL"),
    )


def _volumes() -> None:
    op.create_table(
        "volume",
        _must("volume_id", _TEXT),
        _must("account_id", _TEXT),
        _must("name", _TEXT),
        _must("size_gib", _INT),
        _must("price_nano", _BIG),
        sa.Column("pod_id", _TEXT),
        sa.Column("node_id", _TEXT),
        sa.Column("provider", _TEXT),
        _must("used_mib", _BIG),
        sa.Column("found_ns", _BIG),
        sa.Column("begun_ns", _BIG),
        _must("owed_ns", _BIG),
        sa.Column("from_ns", _BIG),
        sa.Column("seen_ns", _BIG),
        sa.Column("grace_ns", _BIG),
        _must("created_at", _AT),
        sa.Column("ended_ns", _BIG),
        *_stated(),
        sa.PrimaryKeyConstraint("volume_id", name="pk_volume"),
        sa.CheckConstraint("size_gib > 0", name="ck_volume_some_room"),
    )
    op.create_index("ix_volume_node_id", "volume", ["node_id"])
    op.create_index("ix_volume_pod_id", "volume", ["pod_id"])
    op.create_index(
        "uq_volume_name",
        "volume",
        ["account_id", "name"],
        unique=True,
        postgresql_where=sa.text("state IN ('new', 'kept')"),
    )
    op.create_table(
        "stray_volume",
        _must("node_id", _TEXT),
        _must("volume_id", _TEXT),
        _must("used_mib", _BIG),
        _must("first_ns", _BIG),
        _must("seen_ns", _BIG),
        sa.PrimaryKeyConstraint("node_id", "volume_id", name="pk_stray_volume"),
    )
    op.create_table(
        "volume_drop",
        _must("node_id", _TEXT),
        _must("volume_id", _TEXT),
        sa.PrimaryKeyConstraint("node_id", "volume_id", name="pk_volume_drop"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_volume_drop_node_id_node"),
    )


def _access() -> None:
    op.create_table(
        "ssh_key",
        _must("ssh_key_id", _TEXT),
        _must("account_id", _TEXT),
        _must("name", _TEXT),
        _must("line", _TEXT),
        _must("fingerprint", _TEXT),
        _must("created_at", _AT),
        sa.PrimaryKeyConstraint("ssh_key_id", name="pk_ssh_key"),
    )
    op.create_index("uq_ssh_key_fingerprint", "ssh_key", ["account_id", "fingerprint"], unique=True)
    op.create_table(
        "registry_credential",
        _must("registry_id", _TEXT),
        _must("account_id", _TEXT),
        _must("name", _TEXT),
        _must("server", _TEXT),
        _must("username", _TEXT),
        _must("sealed", sa.LargeBinary()),
        _must("created_at", _AT),
        sa.PrimaryKeyConstraint("registry_id", name="pk_registry_credential"),
    )
    op.create_index(
        "uq_registry_credential_name", "registry_credential", ["account_id", "name"], unique=True
    )


def _money() -> None:
    op.create_table(
        "storage_bill",
        _must("volume_id", _TEXT),
        _must("from_ns", _BIG),
        _must("until_ns", _BIG),
        _must("seen_ns", _BIG),
        _must("gib", _INT),
        _must("price_nano", _BIG),
        sa.Column("payer", _TEXT),
        _must("charge_nano", _BIG),
        _must("earned_nano", _BIG),
        sa.PrimaryKeyConstraint("volume_id", "from_ns", name="pk_storage_bill"),
    )
    # $0.10 for a GiB kept for a month of 730 hours.
    op.execute(
        "INSERT INTO rate (name, starts_at, value, unit) VALUES"
        " ('storage_gib_hour', '2020-01-01T00:00:00Z', 136986, 'nano-dollars per GiB-hour')"
    )


def downgrade() -> None:
    op.execute("DELETE FROM rate WHERE name = 'storage_gib_hour'")
    for table in (
        "storage_bill",
        "registry_credential",
        "ssh_key",
        "volume_drop",
        "stray_volume",
        "volume",
        "pod",
    ):
        op.drop_table(table)
    op.execute("DELETE FROM meter_lease WHERE mode = 'pod'")
    op.drop_constraint(op.f(_MODE), "meter_lease")
    op.create_check_constraint(op.f(_MODE), "meter_lease", "mode IN ('dedicated', 'pool')")
    op.drop_column("deployment", "own_launch")
