"""Clouds as the settings open them, over real sockets: the whole way of a call."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brain.adapters.clouds import CloudSettings, open_clouds
from brain.clouds import (
    Boot,
    Cloud,
    CloudError,
    CredentialsRefused,
    HasLogs,
    MachineMissing,
    MachineState,
    Order,
    OutcomeUnknown,
)
from kernel.clock import SystemClock
from standins.clouds import lambda_, runpod, vast
from standins.clouds.asgi import App
from standins.clouds.boot import Processes
from standins.clouds.faults import Fault, FaultKind
from tests.integration.standins.clouds.clients import AT_ONCE, served
from tests.support.wait import until

pytestmark = [
    pytest.mark.feature("B1"),
    pytest.mark.feature("B2"),
    pytest.mark.feature("B3"),
]
KEY = "KEYxq7Jt2Wm9secret"
SECONDS_MAX = 60
CLOUDS: dict[str, Any] = {"runpod": runpod, "vast": vast, "lambda": lambda_}
WAYS = [("runpod", "rest"), ("runpod", "graphql"), ("vast", ""), ("lambda", "")]


def pointed_at(name: str, url: str, way: str, key: str) -> CloudSettings:
    given: dict[str, Any] = {
        "runpod": {
            "runpod_api_base_url": f"{url}/v2",
            "runpod_graphql_url": f"{url}/graphql",
            "runpod_api": way,
        },
        "vast": {"vast_url": url},
        "lambda": {"lambda_cloud_base_url": url},
    }[name]
    unset = {"runpod_api_key": None, "vast_api_key": None, "lambda_api_key": None}
    return CloudSettings(**(unset | given | {f"{name}_api_key": key}))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(
    name: str, way: str, folder: Path, key: str = KEY
) -> AsyncIterator[tuple[Cloud, App]]:
    clock, launcher = SystemClock(), Processes(folder, {})
    world = CLOUDS[name].make_world(clock, random.Random(1), launcher)
    world.rules = replace(AT_ONCE, balance_nano=50_000_000_000)
    app = CLOUDS[name].make_app(world, api_key=KEY)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with served(app, listening) as url:
            clouds = open_clouds(pointed_at(name, url, way, key), clock)
            try:
                yield clouds[name], app
            finally:
                await clouds[name].close()
                launcher.close()


async def rented(cloud: Cloud, tag: str) -> str:
    offers = await cloud.offers()
    offer = min((one for one in offers if not one.spot), key=lambda one: one.gpus)
    boot = Boot("echo it runs\nexec sleep 600\n", {"A": "é ' \" $"}, "python:3.11")
    return (await cloud.create(Order(tag, offer, boot))).machine_id


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_a_machine_is_rented_seen_and_ended(name: str, way: str, tmp_path: Path) -> None:
    async with opened(name, way, tmp_path) as (cloud, _):
        machine = await rented(cloud, "gng-1")

        async def runs() -> bool:
            return [one.state for one in await cloud.find_by_tag("gng-1")] == [MachineState.RUNNING]

        await until(runs, SECONDS_MAX, every=0.3)
        if isinstance(cloud, HasLogs):
            logs = cloud.logs
            await until(lambda: _has_line(logs, machine), SECONDS_MAX, every=0.3)
        await cloud.terminate(machine)
        await until(lambda: _is_gone(cloud, machine), SECONDS_MAX, every=0.3)
        assert await cloud.find_by_tag("gng-1") == []


async def _has_line(logs: Any, machine: str) -> bool:
    return "it runs" in await logs(machine, lines_max=5)


async def _is_gone(cloud: Cloud, machine: str) -> bool:
    listing = await cloud.listing()
    try:
        await cloud.machine(machine)
    except MachineMissing:
        return listing.complete and not listing.machines
    return False


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_an_answer_cut_in_the_middle_is_no_answer(
    name: str, way: str, tmp_path: Path
) -> None:
    async with opened(name, way, tmp_path) as (cloud, app):
        app.world.add_faults([Fault(FaultKind.HALF, "create")])
        with pytest.raises(OutcomeUnknown):
            await rented(cloud, "gng-1")
        assert len(await cloud.find_by_tag("gng-1")) == 1


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_a_wrong_key_is_told_as_such(name: str, way: str, tmp_path: Path) -> None:
    async with opened(name, way, tmp_path, key="WRONGxq7Jt2Wm9") as (cloud, _):
        with pytest.raises(CloudError) as caught:
            await cloud.listing()
        assert isinstance(caught.value, CredentialsRefused)
        assert "WRONGxq7Jt2Wm9" not in repr(caught.value)
