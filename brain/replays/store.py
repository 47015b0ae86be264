"""All SQL of keyed requests."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.replays.models import Replay
from kernel.ids import AccountId


@dataclass(frozen=True)
class Name:
    """Which row."""

    account_id: AccountId
    key_hash: bytes


@dataclass(frozen=True)
class Claimed:
    """What a claim writes."""

    fingerprint: bytes
    boot_id: str
    request_id: str
    claimed_ns: int
    expires_ns: int


async def claim(tx: Tx, name: Name, claimed: Claimed) -> bool:
    """True when there was no row."""
    made = await tx.execute(
        insert(Replay)
        .values(**vars(name), **vars(claimed), settled_ns=None, sealed=None)
        .on_conflict_do_nothing()
        .returning(Replay.request_id)
    )
    return made.one_or_none() is not None


async def locked(tx: Tx, name: Name) -> Replay | None:
    row: Replay | None = await tx.scalar(select(Replay).filter_by(**vars(name)).with_for_update())
    return row


async def take_over(tx: Tx, name: Name, claimed: Claimed) -> None:
    """The row, which is locked, is another request's from now on."""
    await tx.execute(
        update(Replay)
        .where(Replay.account_id == name.account_id, Replay.key_hash == name.key_hash)
        .values(**vars(claimed), settled_ns=None, sealed=None)
    )


async def settle(
    tx: Tx, name: Name, request_id: str, *, at_ns: int, expires_ns: int, sealed: bytes | None
) -> bool:
    """True when the claim was still this request's."""
    done = await tx.execute(
        update(Replay)
        .where(*_claim_of(name, request_id))
        .values(settled_ns=at_ns, expires_ns=expires_ns, sealed=sealed)
        .returning(Replay.request_id)
        .execution_options(synchronize_session=False)
    )
    return done.one_or_none() is not None


async def free(tx: Tx, name: Name, request_id: str) -> bool:
    """Drop the claim of a request that no worker began."""
    gone = await tx.execute(
        delete(Replay)
        .where(*_claim_of(name, request_id))
        .returning(Replay.request_id)
        .execution_options(synchronize_session=False)
    )
    return gone.one_or_none() is not None


def _claim_of(name: Name, request_id: str) -> tuple[ColumnElement[bool], ...]:
    """While it is this request's, and has no answer."""
    return (
        Replay.account_id == name.account_id,
        Replay.key_hash == name.key_hash,
        Replay.request_id == request_id,
        Replay.settled_ns.is_(None),
    )


async def forget(tx: Tx, now_ns: int, limit: int) -> int:
    """Delete up to ``limit`` rows whose time is over; how many."""
    old = select(Replay.account_id, Replay.key_hash).where(Replay.expires_ns <= now_ns).limit(limit)
    gone = await tx.execute(
        delete(Replay)
        .where(tuple_(Replay.account_id, Replay.key_hash).in_(old))
        .returning(Replay.request_id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
