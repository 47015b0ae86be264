"""A cloud that tells what a test wants it to tell: offers, or a failure. It rents nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from brain.clouds import (
    CloudFacts,
    CloudOffer,
    Listing,
    Machine,
    MachineMissing,
    NothingFree,
    Order,
)
from kernel.money import NANO


def told(key: str = "l4", cloud: str = "first", **changes: object) -> CloudOffer:
    values: dict[str, object] = {
        "cloud": cloud,
        "key": key,
        "gpu_name": "NVIDIA L4",
        "gpus": 1,
        "vram_mib": 23034,
        "price_nano": NANO // 2,
        "region": "eu",
    }
    return CloudOffer(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class TellingCloud:
    """``failure`` is raised instead of an answer; ``gate`` is waited for first."""

    name: str = "first"
    told: list[CloudOffer] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    facts: CloudFacts = field(default_factory=lambda: CloudFacts(title="A cloud of a test"))
    asked: int = 0

    def tell(self, *offers: CloudOffer) -> None:
        self.told = [replace(offer, cloud=self.name) for offer in offers]

    async def offers(self) -> list[CloudOffer]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return list(self.told)

    async def create(self, order: Order) -> Machine:
        raise NothingFree("It rents nothing.")

    async def machine(self, machine_id: str) -> Machine:
        raise MachineMissing("It has no machine.")

    async def find_by_tag(self, tag: str) -> list[Machine]:
        return []

    async def listing(self) -> Listing:
        if self.failure is not None:
            raise self.failure
        return Listing(machines=(), complete=True)

    async def terminate(self, machine_id: str) -> None:
        raise MachineMissing("It has no machine.")

    async def close(self) -> None:
        return
