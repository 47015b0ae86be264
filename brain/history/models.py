"""Tables of the history, and what they weigh.

One row is one series (a GPU, a worker, a node) in one bucket of time: a key of 16 bytes and five
slots of 20 (sum 8; count, low and high 4 each) are 116, with PostgreSQL's row header and pointer
148, with the index on (series, at_s) measured 195 (``make bench ONLY=history``). The BRIN index on
at_s is next to nothing.

Reckoned for 5,000 nodes of 8 GPUs, each GPU with a worker of its own: 40,000 + 40,000 + 5,000 =
85,000 series.

| table | bucket | kept | rows | rows/s written | size with indexes |
|---|---|---|---|---|---|
| history_10s | 10 s | 2 h (to 3 h) | 61 to 92 million | 8,500 | 12 to 18 GB |
| history_1m | 1 min | 7 d (to 8 d) | 857 to 979 million | 1,400 | 167 to 191 GB |
| history_1h | 1 h | 13 months | 808 million | 24 | 158 GB |

That is some 9 MB for a GPU and its worker with more than a year of its life. Deleting 8,500 rows a
second would cost as much as writing them, so each table is cut by time into partitions of 1 hour,
1 day and 30 days, and what is old is dropped whole. At 50 nodes of one GPU nothing of this is felt.
The raw table has no key: readings are only ever added to it (``history_flush`` tells which batches
are in), and the order of their coming makes BRIN find a minute of all series without a scan.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from brain.history.core import SLOTS
from brain.plumbing.db import Base


class Flush(Base):
    """A batch of raw rows that is in, of one minute; ``rolled`` once that minute was rolled up
    with it. The same batch is never in twice."""

    __tablename__ = "history_flush"

    batch_id: Mapped[str] = mapped_column(Text, primary_key=True)
    minute_s: Mapped[int] = mapped_column(BigInteger, index=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    rolled: Mapped[bool] = mapped_column(Boolean)


class DirtyHour(Base):
    """An hour of which a minute was rolled up since the hour was."""

    __tablename__ = "history_dirty_hour"

    hour_s: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


def _samples(name: str, *, keyed: bool) -> Table:
    # Eight bytes before four: no row has a hole for alignment.
    slots = [Column(f"total_{k}", BigInteger, nullable=False) for k in range(SLOTS)]
    for one in ("n", "low", "high"):
        slots += [Column(f"{one}_{k}", Integer, nullable=False) for k in range(SLOTS)]
    extra = (
        PrimaryKeyConstraint("series", "at_s", name=f"pk_{name}")
        if keyed
        else Index(f"ix_{name}_series_at_s", "series", "at_s")
    )
    return Table(
        name,
        Base.metadata,
        Column("series", BigInteger, autoincrement=False, nullable=False),
        Column("at_s", BigInteger, autoincrement=False, nullable=False),
        *slots,
        extra,
        Index(f"ix_{name}_at_s", "at_s", postgresql_using="brin"),
        postgresql_partition_by="RANGE (at_s)",
    )


RAW = _samples("history_10s", keyed=False)
MINUTES = _samples("history_1m", keyed=True)
HOURS = _samples("history_1h", keyed=True)
COLUMNS = tuple(column.name for column in RAW.columns)
