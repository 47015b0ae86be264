"""What workers say they began, beside what the books say was used: the comparison, and the look.

An *attempt* is one try of a request on a worker. On the books it is a chain of pieces, numbered
from 0, the last of which says how it ended. ``compare`` is pure.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import asyncpg

SHOWN_MAX = 5
FAILED = "failed"  # the ending of an attempt whose worker failed
_ATTEMPTS = """
    SELECT request_id, attempt, count(*) AS pieces, max(number) AS last,
           count(*) FILTER (WHERE ending <> 'open') AS ends,
           bool_or(ending = 'done') AS done, bool_or(waived_to IS NOT NULL) AS waived,
           sum(settled_ticks) AS ticks, max(ending) FILTER (WHERE ending <> 'open') AS ending,
           bool_or(lease.mode = 'pool') AS pooled,
           min(start_ns) AS start_ns, max(end_ns) AS end_ns
    FROM usage_segment LEFT JOIN meter_lease lease USING (lease_id) GROUP BY 1, 2
"""
NONE: Mapping[str, set[str]] = MappingProxyType({})
_OPEN = "SELECT count(*) FROM usage_segment WHERE NOT folded"


@dataclass(frozen=True)
class Attempt:
    """One try of a request, as the books have it."""

    request_id: str
    attempt: int
    pieces: int
    last: int  # the highest number of its pieces
    ends: int  # pieces that say how it ended
    done: bool
    charged: bool  # somebody pays for it
    ticks: int = 0  # what was counted
    ending: str = ""
    start_ns: int = 0  # on the brain's time line: Unix
    end_ns: int = 0

    @property
    def counts(self) -> bool:
        """It stands for its request: what failed on our side may be run again."""
        return self.ending != FAILED and self.ticks > 0

    def __str__(self) -> str:
        took = (self.end_ns - self.start_ns) / 1e6
        return (
            f"{self.request_id}/{self.attempt} {self.ending} at {self.start_ns} for {took:.1f} ms"
        )


@dataclass
class Findings:
    """Requests that break a law, by law; a few of each are shown."""

    begun: int = 0
    counted: int = 0
    keyed: int = 0  # keys of which a request was begun
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)

    def wrong(self) -> bool:
        return bool(self.lost or self.doubled or self.phantom)

    def lines(self) -> list[str]:
        named = (("lost", self.lost), ("doubled", self.doubled), ("phantom", self.phantom))
        return [f"{name}: {one}" for name, found in named for one in found[:SHOWN_MAX]]


@dataclass
class Begun:
    """What workers say: how often each request was begun, and those of each ``Idempotency-Key``."""

    times: Counter[str] = field(default_factory=Counter)
    keyed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def total(self) -> int:
        return self.times.total()


def compare(
    begun: Begun,
    whole: Iterable[str],
    attempts: Iterable[Attempt],
    answered: Mapping[str, set[str]] = NONE,
) -> Findings:
    """``whole``: requests that were answered to the end; ``answered``: the same by key.

    *Lost*: begun more often than it stands on the books, or answered and not booked as done, or a
    chain with a gap or no end. *Doubled*: two ends in one chain, more pieces than numbers, or
    done twice; or two requests of one key that count, or were answered. *Phantom*: charged, and
    no worker began it.
    """
    found = Findings(begun=begun.total(), keyed=len(begun.keyed))
    tries, done, counted = Counter[str](), Counter[str](), set[str]()
    for one in attempts:
        found.counted += 1
        tries[one.request_id] += 1
        done[one.request_id] += one.done
        if one.counts:
            counted.add(one.request_id)
        if one.ends == 0 or one.pieces < one.last + 1:
            found.lost.append(f"{one}: {one.pieces} pieces, the last {one.last}, {one.ends} ends")
        if one.ends > 1 or one.pieces > one.last + 1:
            found.doubled.append(f"{one}: {one.pieces} pieces, the last {one.last}")
        if one.charged and not begun.times[one.request_id]:
            found.phantom.append(str(one))
    found.lost += [
        f"{request_id}: begun {times} times, {tries[request_id]} on the books"
        for request_id, times in begun.times.items()
        if tries[request_id] < times
    ]
    found.lost += [f"{name}: answered, not done" for name in whole if not done[name]]
    found.doubled += [f"{name}: done {times} times" for name, times in done.items() if times > 1]
    for how, keys in (("count", _those(begun.keyed, counted)), ("were answered", answered)):
        found.doubled += [
            f"{' and '.join(sorted(names))}: they {how}, and have one key"
            for names in keys.values()
            if len(names) > 1
        ]
    return found


def _those(keyed: Mapping[str, set[str]], counted: set[str]) -> dict[str, set[str]]:
    return {mark: names & counted for mark, names in keyed.items()}


def begun_in(journal: Path) -> Begun:
    """What workers noted in the file: a request, and the trace that it is of, where it told one.
    The proof's clients tell one with a key, and the same with the same key."""
    found = Begun()
    with journal.open() as lines:
        for line in lines:
            request_id, _, mark = line.strip().partition(" ")
            found.times[request_id] += 1
            if mark:
                found.keyed[mark].add(request_id)
    return found


async def attempts_in(database_url: str) -> list[Attempt]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(_ATTEMPTS)
    finally:
        await connection.close()
    return [
        Attempt(
            request_id=row["request_id"],
            attempt=row["attempt"],
            pieces=row["pieces"],
            last=row["last"],
            ends=row["ends"],
            done=row["done"],
            charged=_charged(row),
            ticks=int(row["ticks"]),
            ending=row["ending"] or "",
            start_ns=row["start_ns"],
            end_ns=row["end_ns"],
        )
        for row in rows
    ]


def _charged(row: asyncpg.Record) -> bool:
    """What failed is on no bill: of the pool it is waived, and an account's own deployment is
    billed by time, with its requests' shares shown beside."""
    billed = row["pooled"] or row["ending"] != FAILED
    return bool(row["ticks"] > 0 and not row["waived"] and billed)


async def unsettled(database_url: str) -> int:
    """Pieces that no posted window has seen to their end."""
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval(_OPEN))
    finally:
        await connection.close()


async def parked(database_url: str) -> list[str]:
    """What could not be counted, with the reasons."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT payload, reason FROM parked_segment")
    finally:
        await connection.close()
    return [f"{json.loads(row['payload'])['request_id']}: {row['reason']}" for row in rows]
