"""What workers say they began, beside what the books say was used: the comparison, and the look.

An *attempt* is one try of a request on a worker. On the books it is a chain of pieces, numbered
from 0, the last of which says how it ended. ``compare`` is pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

SHOWN_MAX = 5
_ATTEMPTS = """
    SELECT request_id, attempt, count(*) AS pieces, max(number) AS last,
           count(*) FILTER (WHERE ending <> 'open') AS ends,
           bool_or(ending = 'done') AS done, bool_or(waived_to IS NOT NULL) AS waived,
           sum(settled_ticks) AS ticks, max(ending) FILTER (WHERE ending <> 'open') AS ending,
           min(start_ns) AS start_ns, max(end_ns) AS end_ns
    FROM usage_segment GROUP BY 1, 2
"""
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
    ending: str = ""
    start_ns: int = 0  # on the brain's time line: Unix
    end_ns: int = 0

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
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)

    def wrong(self) -> bool:
        return bool(self.lost or self.doubled or self.phantom)

    def lines(self) -> list[str]:
        named = (("lost", self.lost), ("doubled", self.doubled), ("phantom", self.phantom))
        return [f"{name}: {one}" for name, found in named for one in found[:SHOWN_MAX]]


def compare(begun: Counter[str], whole: Iterable[str], attempts: Iterable[Attempt]) -> Findings:
    """``begun``: how often workers began each request; ``whole``: answered to the end.

    *Lost*: begun more often than it stands on the books, or answered and not booked as done, or a
    chain with a gap or no end. *Doubled*: two ends in one chain, more pieces than numbers, or
    done twice. *Phantom*: charged, and no worker began it.
    """
    found = Findings(begun=begun.total())
    tries, done = Counter[str](), Counter[str]()
    for one in attempts:
        found.counted += 1
        tries[one.request_id] += 1
        done[one.request_id] += one.done
        if one.ends == 0 or one.pieces < one.last + 1:
            found.lost.append(f"{one}: {one.pieces} pieces, the last {one.last}, {one.ends} ends")
        if one.ends > 1 or one.pieces > one.last + 1:
            found.doubled.append(f"{one}: {one.pieces} pieces, the last {one.last}")
        if one.charged and not begun[one.request_id]:
            found.phantom.append(str(one))
    found.lost += [
        f"{request_id}: begun {times} times, {tries[request_id]} on the books"
        for request_id, times in begun.items()
        if tries[request_id] < times
    ]
    found.lost += [f"{name}: answered, not done" for name in whole if not done[name]]
    found.doubled += [f"{name}: done {times} times" for name, times in done.items() if times > 1]
    return found


def begun_in(journal: Path) -> Counter[str]:
    """The requests that workers noted in the file."""
    with journal.open() as lines:
        return Counter(line.strip() for line in lines)


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
            charged=row["ticks"] > 0 and not row["waived"],
            ending=row["ending"] or "",
            start_ns=row["start_ns"],
            end_ns=row["end_ns"],
        )
        for row in rows
    ]


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
