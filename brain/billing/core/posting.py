"""A balanced transaction as a value, and the names of the ledger's own accounts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, NamedTuple

from kernel.errors import BadInput
from kernel.ids import AccountId, HoldId, LeaseId, TxId
from kernel.money import Money


class Asset(StrEnum):
    USD = "USD"  # nano-dollars
    GPUNS = "GPUNS"  # whole GPU-nanoseconds


_USD: Final = Asset.USD  # every entry asks
PURCHASES = "platform:purchases"  # what customers paid in
PROMOTIONS = "platform:promotions"
ADJUSTMENTS = "platform:adjustments"
POOL_REVENUE = "platform:pool"
POOL_COST = "platform:pool-cost"  # what the shared pool's leases cost us
LEASE_REVENUE = "platform:leases"  # leases on machines of our own or of clouds
FEES = "platform:fees"
CEILING = "platform:ceiling"  # what a published ceiling took off bills
REFUNDS = "platform:refunds"  # what a worker's failure took off bills
GRACE = "platform:grace"  # what volumes of accounts without credit cost us for a while
LATE = "platform:late"  # GPU time whose news came after its window was posted

# What stands between values on their way to the database, and in a batch's hash with two more.
SEPARATOR = "\x1f"
SEPARATORS = ("\x1d", "\x1e", SEPARATOR)


def reversal_key(id: TxId | str) -> str:
    """A transaction is turned back at most once."""
    return f"reverse/{id}"


def pending(provider: AccountId) -> str:
    """A provider's earnings that are not paid out yet."""
    return f"{provider}:pending"


class Bucket(StrEnum):
    """Every GPU-ns of a lease lies in exactly one; ``rounding`` is the indivisible rest of busy."""

    PROVISION = "provision"
    LOAD = "load"
    BUSY = "busy"
    IDLE = "idle"
    DRAIN = "drain"
    LOST = "lost"


def lease_line(lease: LeaseId, line: Bucket | str) -> str:
    return f"{lease}:{line}"


class Entry(NamedTuple):
    account: str
    asset: Asset
    amount: int


class Capture(NamedTuple):
    """Money taken out of a hold; what exceeds the hold is simply booked."""

    hold: HoldId
    nano: int


@dataclass(frozen=True)
class Posting:
    """One transaction. The same ``key`` with the same content is posted once."""

    id: TxId
    key: str
    kind: str
    memo: str
    entries: tuple[Entry, ...]
    captures: tuple[Capture, ...] = ()

    def __post_init__(self) -> None:
        dollars = gpu_ns = 0
        for _, asset, amount in self.entries:
            if asset is _USD:
                dollars += amount
            else:
                gpu_ns += amount
        assert self.entries, "a transaction has entries"
        assert dollars == 0, f"{self.kind} does not sum to zero: {dollars} nano-dollars"
        assert gpu_ns == 0, f"{self.kind} does not sum to zero: {gpu_ns} GPU-ns"
        for _, nano in self.captures:
            assert nano >= 0, "a capture is never negative"
        said = f"{self.key}{self.kind}{self.memo}"
        if not said.isprintable() and any(mark in said for mark in SEPARATORS):
            raise BadInput("Leave control characters out of the text.")

    def input_hash(self) -> str:
        """Over the JSON of [kind, memo, entries, captures], written by hand: this is done for
        every posting, and what is stored was hashed so."""
        entries = ", ".join(
            [f'[{quoted(a)}, "{asset}", {amount}]' for a, asset, amount in sorted(self.entries)]
        )
        captures = ", ".join([f"[{quoted(hold)}, {nano}]" for hold, nano in sorted(self.captures)])
        said = f"[{quoted(self.kind)}, {quoted(self.memo)}, [{entries}], [{captures}]]"
        return sha256(said.encode()).hexdigest()


def transfer(
    *, id: TxId, key: str, kind: str, memo: str, source: str, target: str, amount: Money
) -> Posting:
    """Move dollars from one ledger account to another."""
    entries = (
        Entry(source, Asset.USD, -amount.nano),
        Entry(target, Asset.USD, amount.nano),
    )
    return Posting(id, key, kind, memo, entries)
