"""Pure: offers as people ask for them: filtered, cheapest first, a page at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brain.scheduling import Offer, Trust
from kernel.errors import BadInput

NODES = "nodes"  # the name under which our own nodes stand beside the clouds
Key = tuple[int, str, str, int, bool]


@dataclass(frozen=True)
class Asked:
    """None and "" ask for anything. ``gpu`` is a part of the name."""

    gpu: str = ""
    cloud: str = ""
    region: str = ""
    vram_mib_min: int = 0
    price_nano_max: int | None = None
    gpus: int = 1  # free at least
    spot: bool | None = None
    secure: bool | None = None
    simulated: bool | None = None
    available: bool | None = None


def listed(
    offers: Iterable[Offer], asked: Asked, now_ns: int, *, after: Key | None, limit: int
) -> list[Offer]:
    """At most ``limit`` offers that are asked for, the cheapest first, behind ``after``."""
    found = [(key_of(offer), offer) for offer in offers if _wanted(offer, asked, now_ns)]
    found.sort(key=lambda one: one[0])
    return [offer for key, offer in found if after is None or key > after][:limit]


def key_of(offer: Offer) -> Key:
    return (offer.price_nano, *offer.key)


def cursor_of(offer: Offer) -> tuple[str, ...]:
    return tuple(str(part) for part in key_of(offer))


def after_of(cursor: tuple[str, ...]) -> Key | None:
    """The key inside a cursor; ``BadInput`` when it is another list's."""
    if not cursor:
        return None
    try:
        price, place, gpu, vram, simulated = cursor
        return (int(price), place, gpu, int(vram), simulated == str(True))
    except ValueError:
        raise BadInput("This cursor belongs to another list.", param="cursor") from None


def shut(offer: Offer, now_ns: int) -> bool:
    """May it not be taken now, whatever is free?"""
    until_ns = offer.withheld_until_ns
    return offer.withheld != "" and (until_ns == 0 or now_ns < until_ns)


def _wanted(offer: Offer, asked: Asked, now_ns: int) -> bool:
    return (
        offer.free >= asked.gpus
        and offer.vram_mib >= asked.vram_mib_min
        and (asked.price_nano_max is None or offer.price_nano <= asked.price_nano_max)
        and asked.gpu.lower() in offer.gpu_name.lower()
        and asked.cloud in ("", offer.cloud or NODES)
        and asked.region in ("", offer.region)
        and asked.spot in (None, offer.spot)
        and asked.secure in (None, offer.trust >= Trust.VERIFIED)
        and asked.simulated in (None, offer.simulated)
        and asked.available in (None, not shut(offer, now_ns))
    )
