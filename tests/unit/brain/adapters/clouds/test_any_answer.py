"""Whatever a cloud answers, Vast.ai's and Lambda's adapters give our values or a ``CloudError``,
and every number fits the columns that it is kept in."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.adapters.clouds.http import HttpLimits
from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.vast import VastCloud
from brain.clouds import Boot, CloudError, CloudOffer, Machine, Order
from kernel.clock import ManualClock
from tests.support.cases import cases

pytestmark = [pytest.mark.feature("B2"), pytest.mark.feature("B3")]
Account = VastCloud | LambdaCloud
TAG = "gng-abcdef012345-00112233445566778899aabbccddeeff-1"
MOST = 2**63 - 1
NAMES = st.sampled_from(
    [
        *("success", "error", "msg", "code", "message", "new_contract", "credit", "data"),
        *("offers", "instances", "total_instances", "next_token", "id", "label", "name", "status"),
        *("num_gpus", "gpu_name", "gpu_ram", "dph_base", "dph_total", "min_bid", "storage_cost"),
        *("start_date", "duration", "disk_space", "machine_id", "geolocation", "reliability2"),
        *("actual_status", "cur_state", "next_state", "intended_status", "is_bid", "ports"),
        *("public_ipaddr", "ssh_host", "ssh_port", "22/tcp", "HostPort", "region", "ip"),
        *("instance_type", "regions_with_capacity_available", "price_cents_per_hour", "specs"),
        *("gpus", "storage_gib", "gpu_description", "instance_ids"),
    ]
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 9),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["running", "stopped", "active", "1e400", "-1", "9" * 60, "gpu_1x_a10"]),
)
ANY = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=8)),
    max_leaves=25,
)
ROWS = st.dictionaries(NAMES, ANY, min_size=3, max_size=14)
SHAPED = st.one_of(
    ANY,
    st.fixed_dictionaries({"offers": st.lists(ROWS, max_size=3)}),
    st.fixed_dictionaries({"instances": st.one_of(ROWS, st.lists(ROWS, max_size=3))}),
    st.fixed_dictionaries({"data": st.one_of(ROWS, st.lists(ROWS, max_size=3))}),
    st.fixed_dictionaries({"data": st.dictionaries(st.text(max_size=3), ROWS, max_size=2)}),
)
STATUSES = st.sampled_from([200, 200, 200, 200, 201, 302, 400, 401, 403, 404, 410, 411, 418])


def account(kind: type[Account], status: int, body: bytes) -> Account:
    class Clock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            self.advance(seconds)

    async def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, stream=httpx.ByteStream(body))

    return kind(
        base_url="https://cloud.example",
        key="k",
        clock=Clock(),
        chance=random.Random(1),
        transport=httpx.MockTransport(serve),
        limits=HttpLimits(bucket_seconds_max=60.0, tries_max=1),
    )


CALLS: dict[str, Callable[[Account], Awaitable[object]]] = {
    "offers": lambda cloud: cloud.offers(),
    "create": lambda cloud: cloud.create(ORDERS[type(cloud)]),
    "machine": lambda cloud: cloud.machine("7"),
    "listing": lambda cloud: cloud.listing(),
    "find_by_tag": lambda cloud: cloud.find_by_tag(TAG),
    "terminate": lambda cloud: cloud.terminate("7"),
    "endpoints": lambda cloud: cloud.endpoints("7"),
}
ORDERS = {
    kind: Order(TAG, CloudOffer(name, key, "L4", 1, 24_000, 10**9, "US"), Boot("true", {}, "i"))
    for kind, name, key in (
        (VastCloud, "vast", "384826"),
        (LambdaCloud, "lambda", "gpu_1x_a10@us-west-1"),
    )
}


@pytest.mark.parametrize("kind", [VastCloud, LambdaCloud])
@pytest.mark.parametrize("call", sorted(CALLS))
@settings(max_examples=cases(30), deadline=None)
@given(status=STATUSES, body=SHAPED)
def test_any_answer_is_a_value_or_a_cloud_error(
    kind: type[Account], call: str, status: int, body: object
) -> None:
    found = asyncio.run(_called(kind, call, status, json.dumps(body).encode()))
    for number in numbers_of(found):
        assert -MOST <= number <= MOST


async def _called(kind: type[Account], call: str, status: int, raw: bytes) -> object:
    try:
        return await CALLS[call](account(kind, status, raw))
    except CloudError:
        return None


def numbers_of(found: object) -> Iterable[int]:
    """Every number of what a call gave that is kept in a table."""
    if isinstance(found, CloudOffer):
        assert found.price_nano > 0
        yield from (found.price_nano, found.gpus)
    elif isinstance(found, Machine):
        yield from (found.cost_nano_hour or 0, found.created_ns or 0, found.gpus)
    elif isinstance(found, list):
        for one in found:
            yield from numbers_of(one)
    elif found is not None:
        for one in getattr(found, "machines", ()):
            yield from numbers_of(one)
