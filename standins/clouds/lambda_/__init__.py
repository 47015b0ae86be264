"""Lambda's API over an emulated cloud; the name ends in _ because the word is Python's own."""

from __future__ import annotations

import random
from collections.abc import Iterable

from kernel.clock import Clock
from standins.clouds.asgi import App
from standins.clouds.faults import Fault
from standins.clouds.lambda_.app import Lambda
from standins.clouds.lambda_.stocks import RULES, STOCKS, new_id
from standins.clouds.lambda_.types import CAPACITY_LAG_SECONDS
from standins.clouds.rules import Launcher, Rules
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
    """An account that is billed afterwards, and the regions' stocks or those that are given."""
    return World(
        clock,
        chance,
        launcher,
        stocks=STOCKS if stocks is None else stocks,
        rules=rules or RULES,
        faults=faults,
        new_id=new_id,
    )


def make_app(
    world: World,
    *,
    api_key: str = "stand-in",
    capacity_lag_seconds: float = CAPACITY_LAG_SECONDS,
) -> App:
    return App(Lambda(world, api_key=api_key, capacity_lag_seconds=capacity_lag_seconds))


def pointers(url: str, key: str) -> dict[str, str]:
    """The environment that points our adapter, and the vendor's client's command, here."""
    return {
        "LAMBDA_CLOUD_BASE_URL": url,
        "LAMBDA_API_KEY": key,
        "LAMBDA_CLOUD_TOKEN": key,
    }
