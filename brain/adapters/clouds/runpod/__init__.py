"""RunPod: containers on data centres' and on strangers' hosts, over REST v2 or GraphQL."""

import random

from brain.adapters.clouds.runpod.graphql import GraphQLRunPod
from brain.adapters.clouds.runpod.rest import RestRunPod
from brain.adapters.clouds.settings import CloudSettings
from kernel.clock import Clock

__all__ = ["GraphQLRunPod", "RestRunPod", "open_cloud"]


def open_cloud(settings: CloudSettings, clock: Clock) -> RestRunPod | GraphQLRunPod | None:
    """The account at RunPod, if there is one."""
    if settings.runpod_api_key is None:
        return None
    key, chance = settings.runpod_api_key.get_secret_value(), random.Random()
    if settings.runpod_api == "graphql":
        return GraphQLRunPod(
            base_url=settings.runpod_graphql_url, key=key, clock=clock, chance=chance
        )
    return RestRunPod(
        base_url=settings.runpod_api_base_url,
        graphql_url=settings.runpod_graphql_url,
        key=key,
        clock=clock,
        chance=chance,
    )
