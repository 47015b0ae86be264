"""RunPod over GraphQL: the older interface, and the only one that tells the balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from gql import GraphQLRequest

from brain.adapters.clouds.buckets import Bucket
from brain.adapters.clouds.fields import amount, nano, text, whole
from brain.adapters.clouds.http import CloudHttp, Reach
from brain.adapters.clouds.runpod import queries
from brain.adapters.clouds.runpod.machines import graphql_endpoints, graphql_machine
from brain.adapters.clouds.runpod.offers import CLOUD, QUESTIONS, graphql_offers
from brain.adapters.clouds.runpod.orders import SECURE, graphql_input, refuses
from brain.adapters.clouds.runpod.refusals import TITLE, graphql_judge, plain_id
from brain.clouds import (
    CloudFacts,
    CloudOffer,
    Container,
    Endpoint,
    Listing,
    Machine,
    MachineMissing,
    MachineState,
    Order,
    Unreadable,
    Volume,
)
from kernel.clock import Clock

FACTS = CloudFacts(title=TITLE)
Row = Mapping[str, object]


def account_buckets(clock: Clock) -> list[Bucket]:
    """Below the account's 60 a minute, 3,000 an hour and 50,000 a day, whenever the cloud's
    windows begin."""
    return [
        Bucket(clock, calls=48, seconds=60, burst=10),
        Bucket(clock, calls=45_000, seconds=86_400, burst=4000),
    ]


class GraphQLRunPod:
    """One account at RunPod, over GraphQL."""

    def __init__(self, **reach: Unpack[Reach]) -> None:
        self._url = reach["base_url"]
        buckets = account_buckets(reach["clock"])
        self._http = CloudHttp(TITLE, buckets=buckets, judge=graphql_judge, **reach)

    @property
    def name(self) -> str:
        return CLOUD

    @property
    def facts(self) -> CloudFacts:
        return FACTS

    async def offers(self) -> list[CloudOffer]:
        found: list[CloudOffer] = []
        for asked in QUESTIONS:
            lowest = {"gpuCount": asked.gpus, "secureCloud": asked.tier == SECURE}
            rows = _rows(await self._ask(queries.GPU_TYPES, {"lowest": lowest}), "gpuTypes")
            found += graphql_offers(rows, asked)
        return found

    def refuses(self, container: Container) -> str:
        return refuses(container)

    async def create(self, order: Order) -> Machine:
        variables: dict[str, object] = {"input": graphql_input(order)}
        told = await self._tell(queries.DEPLOY, variables, repeatable=False)
        pod = _row(told, "podFindAndDeployOnDemand")
        if not text(pod, "id"):
            raise Unreadable(f"{TITLE} answered an order without a pod's id.")
        return Machine(
            machine_id=text(pod, "id"),
            tag=order.tag,
            state=MachineState.PROVISIONING,
            gpu_name=order.offer.gpu_name,
            gpus=order.offer.gpus,
            region=order.offer.region,
        )

    async def machine(self, machine_id: str) -> Machine:
        found = graphql_machine(await self._pod(machine_id))
        if found is None or found.machine_id != machine_id:
            raise Unreadable(f"{TITLE} told of another pod than was asked for.")
        return found

    async def find_by_tag(self, tag: str) -> list[Machine]:
        return tagged(await self.listing(), tag)

    async def listing(self) -> Listing:
        """All in one answer: this cloud has no pages."""
        told = _row(await self._ask(queries.PODS), "myself")
        return listing_of([graphql_machine(row) for row in _rows(told, "pods")])

    async def terminate(self, machine_id: str) -> None:
        await self._tell(queries.TERMINATE, _by_id(machine_id), repeatable=True)

    async def stop(self, machine_id: str) -> None:
        await self._tell(queries.STOP, _by_id(machine_id), repeatable=False)

    async def start(self, machine_id: str) -> None:
        gpus = whole(await self._pod(machine_id), "gpuCount") or 1
        wish: dict[str, object] = {"input": {"podId": machine_id, "gpuCount": gpus}}
        await self._tell(queries.RESUME, wish, repeatable=False)

    async def endpoints(self, machine_id: str) -> list[Endpoint]:
        return graphql_endpoints(await self._pod(machine_id))

    async def volumes(self) -> list[Volume]:
        told = _row(await self._ask(queries.VOLUMES), "myself")
        return [volume_of(row, "dataCenterId") for row in _rows(told, "networkVolumes")]

    async def make_volume(self, name: str, size_gib: int, region: str) -> Volume:
        wish: dict[str, object] = {"name": name, "size": size_gib, "dataCenterId": region}
        told = await self._tell(queries.MAKE_VOLUME, {"input": wish}, repeatable=False)
        return volume_of(told.get("createNetworkVolume"), "dataCenterId")

    async def remove_volume(self, volume_id: str) -> None:
        wish: dict[str, object] = {"input": {"id": plain_id(volume_id)}}
        await self._tell(queries.REMOVE_VOLUME, wish, repeatable=True)

    async def balance_nano(self) -> int:
        """May be below zero. It is not rounded up: it is no cost."""
        dollars = amount(_row(await self._ask(queries.BALANCE), "myself"), "clientBalance")
        if dollars is None:
            raise Unreadable(f"{TITLE} did not tell the balance.")
        return -nano(-dollars)

    async def close(self) -> None:
        await self._http.close()

    async def _pod(self, machine_id: str) -> Row:
        told = await self._ask(queries.POD, _by_id(machine_id))
        if "pod" in told and told["pod"] is None:
            raise MachineMissing(f"{TITLE} does not know this pod.")
        return _row(told, "pod")

    async def _ask(
        self, operation: GraphQLRequest, variables: dict[str, object] | None = None
    ) -> Row:
        return await self._tell(operation, variables, repeatable=True)

    async def _tell(
        self, operation: GraphQLRequest, variables: dict[str, object] | None, *, repeatable: bool
    ) -> Row:
        body = queries.payload(operation, variables)
        answer = await self._http.call("POST", self._url, repeatable=repeatable, json=body)
        return _row(answer.fields(), "data")


def listing_of(read: list[Machine | None]) -> Listing:
    """A row that cannot be read makes the listing incomplete: it may be one of ours."""
    machines = tuple(machine for machine in read if machine is not None)
    complete = len(machines) == len(read)
    why = "" if complete else f"{TITLE} listed pods that cannot be read."
    return Listing(machines, complete, why)


def tagged(listing: Listing, tag: str) -> list[Machine]:
    if not listing.complete:
        raise Unreadable(listing.why_incomplete)
    return [machine for machine in listing.machines if machine.tag == tag]


def volume_of(row: object, place: str) -> Volume:
    if not isinstance(row, Mapping) or not text(row, "id"):
        raise Unreadable(f"{TITLE} told of a volume in another shape.")
    return Volume(text(row, "id"), text(row, "name"), whole(row, "size") or 0, text(row, place))


def _by_id(machine_id: str) -> dict[str, object]:
    return {"input": {"podId": plain_id(machine_id)}}


def _row(told: Row, name: str) -> Row:
    found = told.get(name)
    if not isinstance(found, Mapping):
        raise Unreadable(f"{TITLE} answered without {name}.")
    return found


def _rows(told: Row, name: str) -> list[object]:
    found = told.get(name)
    if not isinstance(found, list):
        raise Unreadable(f"{TITLE} answered without a list of {name}.")
    return found
