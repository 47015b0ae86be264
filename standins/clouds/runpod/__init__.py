"""The RunPod stand-in: GraphQL and REST v2 over one world, as the vendor's clients speak them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from kernel.clock import Clock
from standins.clouds.asgi import App
from standins.clouds.faults import Fault
from standins.clouds.rules import Launcher, Rules, short_id
from standins.clouds.runpod.dialect import RunPod
from standins.clouds.runpod.stocks import STOCKS
from standins.clouds.stock import Stock
from standins.clouds.world import World

__all__ = ["STOCKS", "make_app", "make_world", "pointers"]


def make_world(
    clock: Clock,
    chance: random.Random,
    launcher: Launcher | None = None,
    *,
    stocks: Iterable[Stock] | None = None,
    rules: Rules | None = None,
    faults: Iterable[Fault] = (),
) -> World:
    """A world with RunPod's manners. GPUs are billed from the boot to the end."""
    stocked = STOCKS if stocks is None else stocks
    return World(
        clock, chance, launcher, stocks=stocked, rules=rules, faults=faults, new_id=short_id
    )


def make_app(world: World, *, api_key: str) -> App:
    """The APIs: ``POST /graphql``, ``/v2/…`` (pods, catalog, volumes …) and serverless jobs."""
    return App(RunPod(world, api_key=api_key))


def pointers(url: str, key: str) -> dict[str, str]:
    """The product's settings for this stand-in. The vendor's own package uses one of the names
    otherwise: its ``RUNPOD_API_BASE_URL`` is the address alone."""
    return {
        "RUNPOD_API_KEY": key,
        "RUNPOD_API_BASE_URL": f"{url}/v2",
        "RUNPOD_GRAPHQL_URL": f"{url}/graphql",
    }
