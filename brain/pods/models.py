"""Tables of pods: pods, volumes, what nodes report that nobody owns, SSH keys, registries."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn, Stated, Work
from kernel.ids import (
    AccountId,
    DeploymentId,
    NodeId,
    PodId,
    RegistryId,
    SshKeyId,
    VolumeId,
)


class Pod(Stated, Work, Base):
    """Who and what it is. How it runs is its deployment's; ``state`` is ``states.PodLife``."""

    __tablename__ = "pod"
    __table_args__ = (
        Index(
            "uq_pod_name",
            "account_id",
            "name",
            unique=True,
            postgresql_where=text("ended_ns IS NULL"),
        ),
    )

    pod_id: Mapped[PodId] = mapped_column(IdColumn(PodId), primary_key=True)
    slug: Mapped[str] = mapped_column(Text, unique=True)  # in host names, for ever this pod's
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    deployment_id: Mapped[DeploymentId] = mapped_column(
        IdColumn(DeploymentId), ForeignKey("deployment.deployment_id"), unique=True
    )
    registry_id: Mapped[RegistryId | None] = mapped_column(IdColumn(RegistryId))
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text))  # names of the account's
    delete_volumes: Mapped[bool] = mapped_column(Boolean)  # asked with the end of the pod
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)


class Volume(Stated, Base):
    """``node_id`` is where it lies, or was given a place. Time that is not billed yet is
    ``owed_ns`` and [``from_ns``, ``seen_ns``): see ``core.Kept``."""

    __tablename__ = "volume"
    __table_args__ = (
        CheckConstraint("size_gib > 0", name="some_room"),
        Index(
            "uq_volume_name",
            "account_id",
            "name",
            unique=True,
            postgresql_where=text("state IN ('new', 'kept')"),
        ),
        Index("ix_volume_node_id", "node_id"),
        Index("ix_volume_pod_id", "pod_id"),
    )

    volume_id: Mapped[VolumeId] = mapped_column(IdColumn(VolumeId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    size_gib: Mapped[int] = mapped_column(Integer)
    price_nano: Mapped[int] = mapped_column(BigInteger)  # per GiB-hour, fixed when it was made
    pod_id: Mapped[PodId | None] = mapped_column(IdColumn(PodId))
    node_id: Mapped[NodeId | None] = mapped_column(IdColumn(NodeId))
    provider: Mapped[AccountId | None] = mapped_column(IdColumn(AccountId))  # the node's
    used_mib: Mapped[int] = mapped_column(BigInteger)  # as its node last told
    found_ns: Mapped[int | None] = mapped_column(BigInteger)  # when its node first reported it
    begun_ns: Mapped[int | None] = mapped_column(BigInteger)  # of the stretch not billed yet
    owed_ns: Mapped[int] = mapped_column(BigInteger)
    from_ns: Mapped[int | None] = mapped_column(BigInteger)
    seen_ns: Mapped[int | None] = mapped_column(BigInteger)
    grace_ns: Mapped[int | None] = mapped_column(BigInteger)  # since when the credit is over
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)


class StrayVolume(Base):
    """What a node reports and nobody owns there. It is shown, and never removed by itself."""

    __tablename__ = "stray_volume"

    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId), primary_key=True)
    volume_id: Mapped[str] = mapped_column(Text, primary_key=True)
    used_mib: Mapped[int] = mapped_column(BigInteger)
    first_ns: Mapped[int] = mapped_column(BigInteger)
    seen_ns: Mapped[int] = mapped_column(BigInteger)


class SshKey(Base):
    """A public key that opens a shell in each of the account's pods."""

    __tablename__ = "ssh_key"
    __table_args__ = (Index("uq_ssh_key_fingerprint", "account_id", "fingerprint", unique=True),)

    ssh_key_id: Mapped[SshKeyId] = mapped_column(IdColumn(SshKeyId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    line: Mapped[str] = mapped_column(Text)  # type and key, as in authorized_keys
    fingerprint: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Registry(Base):
    """Credentials for one container registry; ``sealed`` holds the password."""

    __tablename__ = "registry_credential"
    __table_args__ = (Index("uq_registry_credential_name", "account_id", "name", unique=True),)

    registry_id: Mapped[RegistryId] = mapped_column(IdColumn(RegistryId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    server: Mapped[str] = mapped_column(Text)
    username: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
