"""Tables of clouds' offers: what each tells, how its refreshes go, what attempts became of."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base
from brain.plumbing.work import Work


class CloudOfferRow(Base):
    """One offer as its cloud last told it. A row is written when it changes; that it is still
    told is kept once a cloud (``OfferRefresh.ok_ns``). ``gone_ns``: withdrawn, None while told."""

    __tablename__ = "cloud_offer"
    __table_args__ = (
        CheckConstraint("price_nano > 0", name="price"),
        CheckConstraint("gpus > 0", name="gpus"),
        Index("ix_cloud_offer_gone", "gone_ns", postgresql_where=text("gone_ns IS NOT NULL")),
    )

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    gpu_name: Mapped[str] = mapped_column(Text)
    gpus: Mapped[int] = mapped_column(Integer)
    vram_mib: Mapped[int] = mapped_column(BigInteger)
    price_nano: Mapped[int] = mapped_column(BigInteger)  # the cloud's own, without our markup
    region: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    spot: Mapped[bool] = mapped_column(Boolean)
    secure: Mapped[bool] = mapped_column(Boolean)
    free: Mapped[int | None] = mapped_column(Integer)  # machines of this kind
    reliability_ppm: Mapped[int | None] = mapped_column(Integer)
    storage_nano_gib_hour: Mapped[int] = mapped_column(BigInteger)
    egress_nano_gib: Mapped[int] = mapped_column(BigInteger)
    disk_gib_max: Mapped[int | None] = mapped_column(BigInteger)
    disk_gib_included: Mapped[int] = mapped_column(BigInteger)
    boot_seconds: Mapped[int | None] = mapped_column(Integer)
    seconds_max: Mapped[int | None] = mapped_column(BigInteger)
    first_seen_ns: Mapped[int] = mapped_column(BigInteger)
    changed_ns: Mapped[int] = mapped_column(BigInteger)  # when it was last told otherwise
    gone_ns: Mapped[int | None] = mapped_column(BigInteger)


class OfferRefresh(Work, Base):
    """One cloud's refreshes. ``changes`` rises with every refresh that changed a row."""

    __tablename__ = "offer_refresh"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    ok_ns: Mapped[int] = mapped_column(BigInteger)  # asked at, of the last that succeeded; 0: none
    tried_ns: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(Integer)  # in a row
    failure: Mapped[str] = mapped_column(Text)  # in words; "" = the last one succeeded
    refused: Mapped[str] = mapped_column(Text)  # what the last answer held that cannot be true
    changes: Mapped[int] = mapped_column(BigInteger)


class OfferHistory(Base):
    """Outcomes of attempts by place, as faded counts in millionths (see ``core.history``)."""

    __tablename__ = "offer_history"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    region: Mapped[str] = mapped_column(Text, primary_key=True)
    gpu_name: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text, primary_key=True)
    served: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    interrupted: Mapped[int] = mapped_column(BigInteger)
    boots: Mapped[int] = mapped_column(BigInteger)
    boot_seconds: Mapped[int] = mapped_column(BigInteger)
    updated_ns: Mapped[int] = mapped_column(BigInteger)


class OfferModel(Base):
    """Where a model was served last: its files may still lie near."""

    __tablename__ = "offer_model"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    region: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    served_ns: Mapped[int] = mapped_column(BigInteger)


class OfferBlock(Base):
    """What rests after failures, and who tries first (see ``core.breaker``); "*" is any."""

    __tablename__ = "offer_block"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    region: Mapped[str] = mapped_column(Text, primary_key=True)
    gpu_name: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text, primary_key=True)
    offer_key: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    strikes: Mapped[int] = mapped_column(Integer)
    began_ns: Mapped[int] = mapped_column(BigInteger)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    probe_until_ns: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
