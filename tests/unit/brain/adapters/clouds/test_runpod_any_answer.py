"""Whatever RunPod answers, both of its adapters give our values or a ``CloudError``."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.adapters.clouds.http import HttpLimits
from brain.adapters.clouds.runpod import GraphQLRunPod, RestRunPod
from brain.clouds import Boot, CloudError, CloudOffer, Order
from kernel.clock import ManualClock
from tests.support.cases import cases

pytestmark = pytest.mark.feature("B1")
ORDER = Order(
    "gng-1", CloudOffer("runpod", "SECURE|NVIDIA L4|1|", "L4", 1, 1, 1, ""), Boot("true", {}, "i")
)
CALLS: dict[str, tuple[Any, ...]] = {
    "offers": (),
    "create": (ORDER,),
    "machine": ("p1",),
    "listing": (),
    "find_by_tag": ("gng-1",),
    "terminate": ("p1",),
    "stop": ("p1",),
    "start": ("p1",),
    "endpoints": ("p1",),
    "volumes": (),
    "make_volume": ("v", 10, "EU-RO-1"),
    "balance_nano": (),
}
MOST = 2**63 - 1
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["RUNNING", "HIGH", "High", "p1", "gng-1", "1e400", "-1", "9" * 60, "http"]),
)
NAMES = st.sampled_from(
    [
        *("id", "name", "status", "cost", "createdAt", "gpu", "count", "memory", "price", "secure"),
        *("availability", "dataCenters", "runtime", "ports", "private", "public", "type", "ip"),
        *("ssh", "proxy", "host", "port", "username", "desiredStatus", "costPerHr", "gpuCount"),
        *("machine", "gpuDisplayName", "podHostId", "machineId", "lowestPrice", "stockStatus"),
        *("securePrice", "communityPrice", "memoryInGb", "size", "clientBalance", "message"),
    ]
)
ANY = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=8)),
    max_leaves=20,
)
ROW = st.dictionaries(NAMES, ANY, min_size=3, max_size=14)
ROWS = st.lists(ROW, max_size=3)
DATA = st.dictionaries(
    st.sampled_from(["gpuTypes", "myself", "pod", "podFindAndDeployOnDemand", "podTerminate"]),
    st.one_of(ROW, ROWS, st.fixed_dictionaries({"pods": ROWS, "networkVolumes": ROWS}), ANY),
)
BODY = st.one_of(
    ANY,
    ROW,
    st.fixed_dictionaries({"pods": ROWS}),
    st.fixed_dictionaries({"gpus": ROWS}),
    st.fixed_dictionaries({"networkVolumes": ROWS}),
    st.fixed_dictionaries({"data": DATA}),
    st.fixed_dictionaries({"data": DATA, "errors": st.one_of(ANY, ROWS)}),
)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 402, 403, 404, 409, 422, 418])


class Hasty(ManualClock):
    """Nobody waits: who would, finds that the time is over."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def opened(which: str, status: int, body: bytes) -> RestRunPod | GraphQLRunPod:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, stream=httpx.ByteStream(body)))
    given: dict[str, Any] = {
        "key": "k",
        "clock": Hasty(),
        "chance": random.Random(1),
        "transport": transport,
        "limits": HttpLimits(bucket_seconds_max=60.0, tries_max=1),
    }
    url = "https://cloud.example"
    if which == "graphql":
        return GraphQLRunPod(base_url=url, **given)
    return RestRunPod(base_url=url, graphql_url=url, **given)


@pytest.mark.parametrize("which", ["rest", "graphql"])
@pytest.mark.parametrize("call", sorted(CALLS))
@settings(max_examples=cases(15), deadline=None)
@given(status=STATUSES, body=BODY)
async def test_any_answer_is_a_value_or_a_cloud_error(
    which: str, call: str, status: int, body: object
) -> None:
    cloud = opened(which, status, json.dumps(body).encode())
    try:
        found = await getattr(cloud, call)(*CALLS[call])
    except CloudError:
        found = None
    for one in found if isinstance(found, list) else (found,):
        for name in ("price_nano", "cost_nano_hour", "created_ns", "gpus", "vram_mib", "size_gib"):
            assert -MOST <= (getattr(one, name, None) or 0) <= MOST
