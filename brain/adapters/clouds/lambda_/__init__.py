"""Lambda; the package's name ends in _ because the word is Python's own."""

import random

from brain.adapters.clouds.lambda_.cloud import LambdaCloud
from brain.adapters.clouds.settings import CloudSettings
from kernel.clock import Clock

__all__ = ["LambdaCloud", "open_cloud"]


def open_cloud(settings: CloudSettings, clock: Clock) -> LambdaCloud | None:
    """The account at Lambda, if there is one."""
    key = settings.lambda_api_key
    if key is None:
        return None
    return LambdaCloud(
        base_url=settings.lambda_cloud_base_url,
        key=key.get_secret_value(),
        clock=clock,
        chance=random.Random(),
    )
