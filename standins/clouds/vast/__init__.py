"""Vast.ai's API over an emulated cloud."""

from __future__ import annotations

import random
from collections.abc import Iterable

from kernel.clock import Clock
from standins.clouds.asgi import App
from standins.clouds.faults import Fault
from standins.clouds.rules import Launcher, Rules
from standins.clouds.stock import Stock
from standins.clouds.vast.app import Vast
from standins.clouds.vast.desk import SEARCHES_PER_DAY
from standins.clouds.vast.stocks import RULES, STOCKS, new_id
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
    """An account with credit at a small market, or at the market that is given."""
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
    world: World, *, api_key: str = "stand-in", searches_per_day: int = SEARCHES_PER_DAY
) -> App:
    return App(Vast(world, api_key=api_key, searches_per_day=searches_per_day))


def pointers(url: str, key: str) -> dict[str, str]:
    """The environment that points our adapter, and the vendor's own client, here."""
    return {"VAST_URL": url, "VAST_API_KEY": key}
