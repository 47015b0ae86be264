"""RunPod over REST v2, its interface for new work. The balance alone still needs GraphQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import msgspec

from brain.adapters.clouds.fields import text
from brain.adapters.clouds.http import CloudHttp, Reach
from brain.adapters.clouds.runpod.bills import rest_bill, wall
from brain.adapters.clouds.runpod.graphql import (
    FACTS,
    GraphQLRunPod,
    account_buckets,
    listing_of,
    tagged,
    volume_of,
)
from brain.adapters.clouds.runpod.machines import rest_endpoints, rest_machine
from brain.adapters.clouds.runpod.offers import CLOUD, QUESTIONS, Question, rest_offers
from brain.adapters.clouds.runpod.orders import refuses, rest_body
from brain.adapters.clouds.runpod.refusals import (
    TITLE,
    create_judge,
    list_judge,
    plain_id,
    rest_judge,
)
from brain.clouds import (
    Billed,
    CloudFacts,
    CloudOffer,
    Container,
    Endpoint,
    Listing,
    Machine,
    Order,
    Unreadable,
    Volume,
)

LOG_SECONDS_MAX = 3.0  # the stream of a pod's logs has no end: what came by then is the answer
LOG_LINES_MAX = 5000


class RestRunPod:
    """One account at RunPod, over REST v2."""

    def __init__(self, *, graphql_url: str, **reach: Unpack[Reach]) -> None:
        buckets = account_buckets(reach["clock"])
        self._http = CloudHttp(TITLE, buckets=buckets, judge=rest_judge, **reach)
        account: Reach = {**reach, "base_url": graphql_url}
        self._account = GraphQLRunPod(**account)

    @property
    def name(self) -> str:
        return CLOUD

    @property
    def facts(self) -> CloudFacts:
        return FACTS

    async def offers(self) -> list[CloudOffer]:
        found: list[CloudOffer] = []
        for asked in QUESTIONS:
            found += rest_offers(await self._catalogue(asked), asked)
        return found

    async def _catalogue(self, asked: Question) -> list[object]:
        answer = await self._http.call(
            "GET",
            "/catalog/gpus",
            repeatable=True,
            query={
                "include": "AVAILABILITY",
                "product": "POD",
                "cloud": asked.tier,
                "count": asked.gpus,
            },
            judge=list_judge,
        )
        return _rows(answer.fields(), "gpus")

    def refuses(self, container: Container) -> str:
        return refuses(container)

    async def create(self, order: Order) -> Machine:
        answer = await self._http.call(
            "POST", "/pods", repeatable=False, json=rest_body(order), judge=create_judge
        )
        machine = rest_machine(answer.fields())
        if machine is None or machine.tag != order.tag:
            raise Unreadable(f"{TITLE} answered an order with another pod than was ordered.")
        return machine

    async def machine(self, machine_id: str) -> Machine:
        machine = rest_machine(await self._pod(machine_id))
        if machine is None or machine.machine_id != machine_id:
            raise Unreadable(f"{TITLE} told of another pod than was asked for.")
        return machine

    async def find_by_tag(self, tag: str) -> list[Machine]:
        return tagged(await self.listing(), tag)

    async def listing(self) -> Listing:
        """All in one answer: this cloud has no pages."""
        answer = await self._http.call("GET", "/pods", repeatable=True, judge=list_judge)
        return listing_of([rest_machine(row) for row in _rows(answer.fields(), "pods")])

    async def terminate(self, machine_id: str) -> None:
        await self._http.call("DELETE", _path(machine_id), repeatable=True)

    async def stop(self, machine_id: str) -> None:
        await self._act(machine_id, "stop")

    async def start(self, machine_id: str) -> None:
        await self._act(machine_id, "start")

    async def _act(self, machine_id: str, action: str) -> None:
        path = f"{_path(machine_id)}/action"
        await self._http.call("POST", path, repeatable=False, json={"action": action})

    async def endpoints(self, machine_id: str) -> list[Endpoint]:
        return rest_endpoints(await self._pod(machine_id))

    async def logs(self, machine_id: str, *, lines_max: int) -> list[str]:
        """The last lines. The cloud sends those first and then goes on for ever."""
        count = min(max(lines_max, 1), LOG_LINES_MAX)
        path = f"{_path(machine_id)}/logs?source=container&tail={count}"
        found: list[str] = []
        async with self._http.lines(path, seconds_max=LOG_SECONDS_MAX) as lines:
            async for line in lines:
                if line.startswith("data:"):
                    found.append(_log_line(line.removeprefix("data:")))
                if len(found) >= count:
                    break
        return found

    async def volumes(self) -> list[Volume]:
        answer = await self._http.call("GET", "/network-volumes", repeatable=True, judge=list_judge)
        rows = _rows(answer.fields(), "networkVolumes")
        return [volume_of(row, "dataCenter") for row in rows]

    async def make_volume(self, name: str, size_gib: int, region: str) -> Volume:
        wish = {"name": name, "size": size_gib, "dataCenter": region}
        answer = await self._http.call("POST", "/network-volumes", repeatable=False, json=wish)
        return volume_of(answer.fields(), "dataCenter")

    async def remove_volume(self, volume_id: str) -> None:
        await self._http.call("DELETE", _path(volume_id, "network-volumes"), repeatable=True)

    async def bills(self, since_ns: int, until_ns: int) -> list[Billed]:
        """By the day, for every pod that there was."""
        span = {"startTime": wall(since_ns), "endTime": wall(until_ns), "bucketSize": "day"}
        answer = await self._http.call(
            "GET", "/billing/pods", repeatable=True, query=span, judge=list_judge
        )
        return [rest_bill(row) for row in _rows(answer.fields(), "records")]

    async def balance_nano(self) -> int:
        return await self._account.balance_nano()

    async def close(self) -> None:
        await self._http.close()
        await self._account.close()

    async def _pod(self, machine_id: str) -> dict[str, object]:
        return (await self._http.call("GET", _path(machine_id), repeatable=True)).fields()


def _path(thing_id: str, kind: str = "pods") -> str:
    return f"/{kind}/{plain_id(thing_id)}"


def _rows(told: Mapping[str, object], name: str) -> list[object]:
    found = told.get(name)
    if not isinstance(found, list):
        raise Unreadable(f"{TITLE} answered without a list of {name}.")
    return found


def _log_line(event: str) -> str:
    try:
        told = msgspec.json.decode(event)
    except msgspec.DecodeError:
        return event.strip()
    return text(told, "line") if isinstance(told, Mapping) else event.strip()
