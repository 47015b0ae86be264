"""Pure: which of the offers that a cloud tells of can be true, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from brain.clouds import CloudOffer

OFFERS_MAX = 20_000  # of one cloud
GPUS_MAX = 64
VRAM_MIB_MAX = 2 << 20
PRICE_NANO_MIN = 1_000_000  # a tenth of a cent an hour: nobody rents a GPU for less
PRICE_NANO_MAX = 1_000 * 1_000_000_000
STORAGE_NANO_MAX = 1_000_000_000  # a dollar per GiB and hour
BOOT_SECONDS_MAX = 86_400
NAME_MAX = 120
KEY_MAX = 300
REASONS_TOLD = 3


class NotBelieved(Exception):
    """The whole answer is refused; the words say why."""


@dataclass(frozen=True)
class Believed:
    """``refused`` is "" or one sentence on what was left out."""

    offers: tuple[CloudOffer, ...]
    refused: str = ""


def believe(cloud: str, told: Sequence[CloudOffer]) -> Believed:
    """Sort out what cannot be true. Raises ``NotBelieved`` when nothing of it may be kept."""
    if len(told) > OFFERS_MAX:
        raise NotBelieved(f"It told of {len(told):,} offers; {OFFERS_MAX:,} is the most.")
    good: dict[str, CloudOffer] = {}
    lies: Counter[str] = Counter()
    for offer in told:
        lie = _lie(cloud, offer) or ("the same key twice" if offer.key in good else "")
        if lie:
            lies[lie] += 1
        else:
            good[offer.key] = offer
    if not lies:
        return Believed(tuple(good.values()))
    often = lies.most_common(REASONS_TOLD)
    said = "; ".join(f"{reason} ({count}×)" for reason, count in often)
    sentence = f"{sum(lies.values()):,} of {len(told):,} offers were refused: {said}."
    if not good:
        raise NotBelieved(sentence)
    return Believed(tuple(good.values()), sentence)


def _lie(cloud: str, offer: CloudOffer) -> str:
    """What cannot be true of it, or ""."""
    return _false_name(cloud, offer) or _false_size(offer) or _false_money(offer)


def _false_name(cloud: str, offer: CloudOffer) -> str:
    if offer.cloud != cloud:
        return "another cloud's name"
    if not _readable(offer.key, KEY_MAX):
        return "no key that can be read"
    if not _readable(offer.gpu_name, NAME_MAX):
        return "no name of the GPU that can be read"
    for text in (offer.region, offer.host):
        if text and not _readable(text, NAME_MAX):
            return "a region or host that cannot be read"
    return ""


def _false_size(offer: CloudOffer) -> str:
    if not 1 <= offer.gpus <= GPUS_MAX:
        return f"not 1 to {GPUS_MAX} GPUs"
    if not 1 <= offer.vram_mib <= VRAM_MIB_MAX:
        return "memory that no GPU has"
    if offer.free is not None and not 0 <= offer.free <= 1_000_000:
        return "a number of machines that cannot be"
    if offer.reliability_ppm is not None and not 0 <= offer.reliability_ppm <= 1_000_000:
        return "a reliability that is not between 0 and 100 %"
    if offer.boot_seconds is not None and not 0 <= offer.boot_seconds <= BOOT_SECONDS_MAX:
        return "a boot time that cannot be"
    if offer.seconds_max is not None and offer.seconds_max < 0:
        return "a negative longest duration"
    if offer.disk_gib_included < 0 or (offer.disk_gib_max is not None and offer.disk_gib_max < 0):
        return "a negative disk"
    return ""


def _false_money(offer: CloudOffer) -> str:
    if offer.price_nano < 0:
        return "a negative price"
    if not PRICE_NANO_MIN <= offer.price_nano <= PRICE_NANO_MAX:
        return "a price that no GPU has"
    for nano in (offer.storage_nano_gib_hour, offer.egress_nano_gib):
        if not 0 <= nano <= STORAGE_NANO_MAX:
            return "a price of storage or traffic that cannot be"
    return ""


def _readable(text: str, most: int) -> bool:
    return bool(text.strip()) and len(text) <= most and text.isprintable()
