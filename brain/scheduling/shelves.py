"""Shelves of the board: offers of one kind each, in the order of their price. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter

from brain.scheduling.offer import Offer

Rank = tuple[int, str, str, int, bool]  # price, then what breaks a tie


@dataclass(frozen=True, slots=True)
class Shelf:
    """Offers alike but for price, age and record; ``best`` is as good as any of them."""

    ranked: tuple[tuple[Rank, Offer], ...]
    best: Offer


def rank_of(offer: Offer) -> Rank:
    return (offer.price_nano, offer.place, offer.gpu_name, offer.vram_mib, offer.simulated)


def sorted_out(offers: Iterable[Offer]) -> list[Shelf]:
    kinds: dict[object, list[tuple[Rank, Offer]]] = defaultdict(list)
    for offer in offers:
        kinds[_kind(offer)].append((rank_of(offer), offer))
    return [_shelf(ranked) for ranked in kinds.values()]


def _kind(offer: Offer) -> tuple[object, ...]:
    """What all offers of a shelf share: everything that a kind filter looks at."""
    return (
        offer.vram_mib,
        offer.free,
        offer.gpu_name,
        offer.region,
        offer.spot,
        offer.trust,
        offer.simulated,
        offer.engine,
        offer.cloud,
    )


def _shelf(ranked: list[tuple[Rank, Offer]]) -> Shelf:
    ranked.sort(key=itemgetter(0))
    offers = [offer for _, offer in ranked]
    best = replace(
        offers[0],
        cold_start_seconds=min(offer.cold_start_seconds for offer in offers),
        reliability_ppm=max(offer.reliability_ppm for offer in offers),
        failure_ppm=min(offer.failure_ppm for offer in offers),
        storage_nano_gib_hour=min(offer.storage_nano_gib_hour for offer in offers),
        disk_gib_included=max(offer.disk_gib_included for offer in offers),
        models=frozenset().union(*(offer.models for offer in offers)),
    )
    return Shelf(tuple(ranked), best)
