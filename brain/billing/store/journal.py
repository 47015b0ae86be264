"""The journal and its balances: one posting path, in batches, idempotent by key and content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, func, select, text
from sqlalchemy.exc import OperationalError

from brain.billing.core.pause import collector_paused
from brain.billing.core.posting import SEPARATOR, Asset, Posting, reversal_key
from brain.billing.models import Balance, JournalEntry, JournalTx
from brain.plumbing import DRIVER_ERRORS, Db, Tx
from kernel.errors import Conflict
from kernel.ids import AccountId, TxId

_TEXTS, _BIGS = ARRAY(Text), ARRAY(BigInteger)

# Thousands of values go to the driver's placeholders as one text each: of an array it would look at
# every element. An empty text would be no element at all, so the memos have one before them.
_POST = """
SELECT place, known_id, same FROM ledger_post(
    {1}, {2}, {3}, {4}, ({5})[2:], $6::timestamptz, {7}, {8}::int[], {9}, {10}, {11}::bigint[],
    {12}, {13}, {14}::bigint[])
""".format(*(f"string_to_array(${n}, E'\\x1f')" for n in range(15)))
_LOCK = text("SELECT ledger_lock(:accounts, :assets)").bindparams(
    bindparam("accounts", type_=_TEXTS), bindparam("assets", type_=_TEXTS)
)
_CARRY = text(
    "UPDATE balance SET carry = k.carry FROM unnest(:accounts, :carries) AS k(account, carry)"
    " WHERE ledger_account = k.account AND asset = 'USD'"
).bindparams(bindparam("accounts", type_=_TEXTS), bindparam("carries", type_=_BIGS))


class Outcome(StrEnum):
    POSTED = "posted"
    KNOWN = "known"  # the same was posted before
    CONFLICT = "conflict"  # the key was used for something else; nothing was posted


class Posted(NamedTuple):
    id: TxId
    outcome: Outcome


@dataclass(frozen=True)
class BalanceView:
    """Nano-dollars (or GPU-ns). ``free`` may be spent."""

    account: str
    posted: int = 0
    held: int = 0
    carry: int = 0

    @property
    def free(self) -> int:
        return self.posted - self.held


async def post(tx: Tx, postings: Sequence[Posting], at: datetime) -> list[Posted]:
    """Post a batch within a transaction. The same key and content twice is posted once. One
    ``Posted`` per posting, in order; a conflict is told, not raised. Balances are locked in name
    order, after those that the transaction has locked already."""
    if not postings:
        return []
    ordered = sorted(postings, key=_key)
    connection = await tx.connection()
    rows = (await connection.exec_driver_sql(_POST, _arguments(ordered, at))).all()
    return _answers(postings, ordered, [tuple(row) for row in rows])


async def post_alone(db: Db, postings: Sequence[Posting], at: datetime) -> list[Posted]:
    """As ``post``, as a transaction of its own in one round trip; returns after its commit."""
    ordered = sorted(postings, key=_key)
    async with db.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        try:
            rows = await driver.fetch(_POST, *_arguments(ordered, at))
        except DRIVER_ERRORS as error:
            raise OperationalError("ledger_post", (), error) from error
    return _answers(postings, ordered, rows)


def _key(posting: Posting) -> str:
    return posting.key


def _arguments(postings: Sequence[Posting], at: datetime) -> tuple[object, ...]:
    """In key order, so that two batches with the same keys never wait crosswise."""
    with collector_paused():
        entries = [e for p in postings for e in p.entries]
        captures = [(p.id, c) for p in postings for c in p.captures]
        return (
            _joined([p.id for p in postings]),
            _joined([p.key for p in postings]),
            _joined([p.input_hash() for p in postings]),
            _joined([p.kind for p in postings]),
            _joined(["", *(p.memo for p in postings)]),
            at,
            _joined([p.id for p in postings for _ in p.entries]),
            _joined([str(line) for p in postings for line, _ in enumerate(p.entries, 1)]),
            _joined([e.account for e in entries]),
            _joined([e.asset for e in entries]),
            _joined([str(e.amount) for e in entries]),
            _joined([id for id, _ in captures]),
            _joined([c.hold for _, c in captures]),
            _joined([str(c.nano) for _, c in captures]),
        )


def _joined(values: Sequence[str]) -> str:
    made = SEPARATOR.join(values)
    assert made.count(SEPARATOR) == max(0, len(values) - 1), "no value bears the separator"
    return made


def _answers(
    postings: Sequence[Posting], ordered: Sequence[Posting], rows: Sequence[Sequence[Any]]
) -> list[Posted]:
    """Only those whose key was there before are answered with a row."""
    known = {
        ordered[place - 1].id: Posted(TxId(id), Outcome.KNOWN if same else Outcome.CONFLICT)
        for place, id, same in rows
    }
    if not known:
        return [Posted(p.id, Outcome.POSTED) for p in postings]
    return [known.get(p.id) or Posted(p.id, Outcome.POSTED) for p in postings]


async def post_all(tx: Tx, postings: Sequence[Posting], at: datetime) -> list[Posted]:
    """As ``post``; raises ``Conflict`` when any key was used for something else."""
    done = await post(tx, postings, at)
    for posting, result in zip(postings, done, strict=True):
        raise_conflict(posting, result)
    return done


def raise_conflict(posting: Posting, result: Posted) -> None:
    if result.outcome is Outcome.CONFLICT:
        raise Conflict(
            "This idempotency key was used for something else; use a new key.",
            code="idempotency_conflict",
            internal=f"{posting.key} is {result.id}",
        )


async def lock(tx: Tx, names: Iterable[tuple[str, Asset]]) -> dict[str, BalanceView]:
    """Lock these balances in name order, making those that are missing; the USD ones as seen.

    Take every lock that the transaction will need in this one call.
    """
    wanted = sorted(set(names))
    await lock_only(tx, wanted)
    dollars = [name for name, asset in wanted if asset is Asset.USD]
    return await balances(tx, dollars)


async def lock_only(tx: Tx, names: Iterable[tuple[str, Asset]]) -> None:
    """As ``lock``, for those who read the balances in a statement of their own."""
    wanted = sorted(set(names))
    await tx.execute(
        _LOCK, {"accounts": [n for n, _ in wanted], "assets": [a.value for _, a in wanted]}
    )


async def balances(tx: Tx, names: Sequence[str]) -> dict[str, BalanceView]:
    """Dollar balances by name; zero where nothing was ever posted."""
    rows = await tx.execute(
        select(Balance.ledger_account, Balance.posted, Balance.held, Balance.carry).where(
            Balance.asset == Asset.USD.value, Balance.ledger_account.in_(names)
        )
    )
    found = {name: BalanceView(name) for name in names}
    for row in rows:
        found[row[0]] = BalanceView(row[0], int(row[1]), row[2], row[3])
    return found


async def save_carries(tx: Tx, carries: dict[str, int]) -> None:
    """The carries of locked balances."""
    if carries:
        names = sorted(carries)
        await tx.execute(_CARRY, {"accounts": names, "carries": [carries[n] for n in names]})


# Kinds that make up what was bought: a refund or a dispute takes it back, and may be returned.
BOUGHT = ("purchase", "refund", "refund_returned", "dispute", "dispute_returned")


async def purchased(tx: Tx, account: AccountId) -> int:
    """Nano-dollars that the account ever bought, less what went back to its payer."""
    amount = await tx.scalar(
        select(func.coalesce(func.sum(JournalEntry.amount), 0))
        .join(JournalTx, JournalTx.id == JournalEntry.tx_id)
        .where(JournalEntry.ledger_account == account, JournalTx.kind.in_(BOUGHT))
    )
    return int(amount or 0)


@dataclass(frozen=True)
class Line:
    """One line of an account's statement."""

    tx_id: TxId
    kind: str
    memo: str
    amount_nano: int
    at: datetime


async def statement(tx: Tx, account: str, *, before: str | None, limit: int) -> list[Line]:
    """An account's dollar lines, newest first, before a transaction's id."""
    query = (
        select(JournalTx.id, JournalTx.kind, JournalTx.memo, JournalTx.at, JournalEntry.amount)
        .join(JournalTx, JournalTx.id == JournalEntry.tx_id)
        .where(JournalEntry.ledger_account == account, JournalEntry.asset == Asset.USD.value)
        .order_by(JournalEntry.tx_id.desc(), JournalEntry.line)
        .limit(limit)
    )
    if before is not None:
        query = query.where(JournalEntry.tx_id < TxId(before))
    return [Line(r[0], r[1], r[2], int(r[4]), r[3]) for r in await tx.execute(query)]


async def entries_of(tx: Tx, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The transactions with these idempotency keys, with their entries, for a receipt."""
    rows = await tx.execute(
        select(
            JournalTx.id,
            JournalTx.kind,
            JournalTx.memo,
            JournalTx.at,
            JournalTx.idempotency_key,
            JournalEntry.ledger_account,
            JournalEntry.asset,
            JournalEntry.amount,
        )
        .join(JournalEntry, JournalEntry.tx_id == JournalTx.id)
        .where(JournalTx.idempotency_key.in_(keys))
        .order_by(JournalTx.id, JournalEntry.line)
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        shown = found.setdefault(
            row[0],
            {
                "id": row[0],
                "kind": row[1],
                "memo": row[2],
                "at": row[3].isoformat(),
                "key": row[4],
                "entries": [],
            },
        )
        shown["entries"].append({"account": row[5], "asset": row[6], "amount": row[7]})
    return list(found.values())


async def booked(tx: Tx, keys: Sequence[str]) -> list[dict[str, Any]]:
    """As ``entries_of``, and what was turned back of them, each naming what it reverses."""
    found = await entries_of(tx, keys)
    back = await entries_of(tx, [reversal_key(one["id"]) for one in found]) if found else []
    for one in back:
        one["reverses"] = one["key"].partition("/")[2]
    return [*found, *back]


async def whole(tx: Tx, id: TxId) -> tuple[str, list[tuple[str, str, int]]] | None:
    """A transaction's kind and its entries (account, asset, amount), in order."""
    kind = await tx.scalar(select(JournalTx.kind).where(JournalTx.id == id))
    if kind is None:
        return None
    rows = await tx.execute(
        select(JournalEntry.ledger_account, JournalEntry.asset, JournalEntry.amount)
        .where(JournalEntry.tx_id == id)
        .order_by(JournalEntry.line)
    )
    return kind, [(row[0], row[1], int(row[2])) for row in rows]
