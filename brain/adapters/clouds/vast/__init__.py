"""Vast.ai."""

import random

from brain.adapters.clouds.settings import CloudSettings
from brain.adapters.clouds.vast.cloud import VastCloud
from kernel.clock import Clock

__all__ = ["VastCloud", "open_cloud"]


def open_cloud(settings: CloudSettings, clock: Clock) -> VastCloud | None:
    """The account at Vast.ai, if there is one."""
    key = settings.vast_api_key
    if key is None:
        return None
    return VastCloud(
        base_url=settings.vast_url,
        key=key.get_secret_value(),
        clock=clock,
        chance=random.Random(),
    )
