"""What kept volumes cost: GiB-nanoseconds at a price per GiB-hour, by the law of GPU time. Pure.

The carry is the payer's own, in the same units as that of GPU time: the sum of all charges and
the carry is price x GiB-ns exactly, however the time was split.
"""

from __future__ import annotations

from dataclasses import dataclass

from brain.billing.core.lease import earning
from brain.billing.core.posting import FEES, GRACE, LEASE_REVENUE, Asset, Entry, Posting, pending
from kernel.errors import BadInput
from kernel.ids import AccountId, TxId, VolumeId
from kernel.money import TICKS_PER_GPU_NS, HourlyRate, Money


@dataclass(frozen=True)
class Stored:
    """A stretch [``from_ns``, ``until_ns``) of which a volume was seen for ``seen_ns``.

    ``payer`` None: its owner's credit is over and it is kept for the grace time; its provider is
    paid, and nobody else pays.
    """

    volume_id: VolumeId
    payer: AccountId | None
    provider: AccountId | None
    gib: int
    price_nano: int  # per GiB-hour
    from_ns: int
    until_ns: int
    seen_ns: int

    def __post_init__(self) -> None:
        if self.gib < 1 or self.price_nano < 0:
            raise BadInput("A volume has at least one GiB, and no negative price.")
        if not 0 <= self.seen_ns <= self.until_ns - self.from_ns:
            raise BadInput("A volume is seen for no longer than it was there.")

    @property
    def carrier(self) -> str:
        """The ledger account that pays, and keeps the carry."""
        return GRACE if self.payer is None else self.payer


@dataclass(frozen=True)
class StorageCharge:
    """``charge`` to the payer, ``earned`` by the provider, and the carry to keep."""

    charge: Money
    earned: Money
    carry: int


def charge_storage(
    stored: Stored, carry: int, fee_basis_points: int, platform: AccountId
) -> StorageCharge:
    """Whole nano-dollars of the stretch, and the rest for the next one."""
    ticks = stored.gib * stored.seen_ns * TICKS_PER_GPU_NS
    charge, rest = HourlyRate(stored.price_nano).charge_ticks(ticks, carry)
    ours = stored.provider in (None, platform)
    return StorageCharge(charge, Money(0) if ours else earning(charge, fee_basis_points), rest)


def storage_key(volume: VolumeId, from_ns: int) -> str:
    return f"storage/{volume}/{from_ns}"


def storage_posting(
    id: TxId, stored: Stored, made: StorageCharge, platform: AccountId, memo: str
) -> Posting | None:
    """The payer's charge, the provider's earning and our fee; in the grace time no fee."""
    ours = stored.provider in (None, platform)
    fee = 0 if stored.payer is None else made.charge.nano - made.earned.nano
    entries = [
        Entry(stored.carrier, Asset.USD, -(made.earned.nano + fee)),
        Entry(LEASE_REVENUE if ours else FEES, Asset.USD, fee),
    ]
    if stored.provider is not None and not ours:
        entries.append(Entry(pending(stored.provider), Asset.USD, made.earned.nano))
    kept = tuple(entry for entry in entries if entry.amount)
    if not kept:
        return None
    key = storage_key(stored.volume_id, stored.from_ns)
    return Posting(id=id, key=key, kind="storage_time", memo=memo, entries=kept)


def storage_names(stored: Stored) -> set[tuple[str, Asset]]:
    """Every balance that a charge may touch."""
    names = {stored.carrier, FEES, LEASE_REVENUE}
    if stored.provider is not None:
        names.add(pending(stored.provider))
    return {(name, Asset.USD) for name in names}
