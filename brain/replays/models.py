"""The table of keyed requests: a row for each account and key."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId


class Replay(Base):
    """``key_hash`` and ``fingerprint`` are keyed hashes: what a client wrote is not to be guessed
    from them. ``settled_ns`` is null while the request runs; ``sealed`` holds its answer if kept.
    """

    __tablename__ = "replay"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    boot_id: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str] = mapped_column(Text)
    claimed_ns: Mapped[int] = mapped_column(BigInteger)
    settled_ns: Mapped[int | None] = mapped_column(BigInteger)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_ns: Mapped[int] = mapped_column(BigInteger, index=True)
