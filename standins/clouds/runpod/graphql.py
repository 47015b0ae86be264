"""GraphQL of the RunPod stand-in: queries are parsed, checked against the schema and resolved.

A refusal is an entry of ``errors`` under HTTP 200, as RunPod gives it; the dialect makes the few
that have a status of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    build_schema,
    graphql_sync,
    parse,
)

from kernel.money import NANO
from standins.clouds.faults import Operation
from standins.clouds.machine import Machine
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Seen
from standins.clouds.runpod import catalog, pods, views
from standins.clouds.runpod.account import Account
from standins.clouds.runpod.catalog import Fields, dollars
from standins.clouds.runpod.pods import Wish
from standins.clouds.runpod.schema import SCHEMA
from standins.clouds.stock import Shelf
from standins.clouds.world import World

SCHEMA_BUILT = build_schema(SCHEMA)
OPEN_TO_ALL = frozenset({"gpuTypes", "dataCenters", "__schema", "__typename", "__type"})
# The money and limits that have no world under them.
SPEND_LIMIT = 80
CODES = {
    Trouble.UNAUTHORIZED: "UNAUTHENTICATED",
    Trouble.FORBIDDEN: "FORBIDDEN",
    Trouble.BAD_REQUEST: "BAD_USER_INPUT",
    Trouble.MISSING: "POD_NOT_FOUND",
}
_OPERATIONS = {
    "gpuTypes": Operation.OFFERS,
    "dataCenters": Operation.OFFERS,
    "pod": Operation.GET,
    "podFindAndDeployOnDemand": Operation.CREATE,
    "podRentInterruptable": Operation.CREATE,
    "deployCpuPod": Operation.CREATE,
    "podStop": Operation.STOP,
    "podResume": Operation.START,
    "podBidResume": Operation.START,
    "podTerminate": Operation.TERMINATE,
}


def root_fields(query: object) -> list[FieldNode]:
    """The fields that a query asks of the root; none where it cannot be read."""
    try:
        document: DocumentNode = parse(query) if isinstance(query, str) else DocumentNode()
    except GraphQLError:
        return []
    return [
        field
        for definition in document.definitions or ()
        if isinstance(definition, OperationDefinitionNode)
        for field in definition.selection_set.selections
        if isinstance(field, FieldNode)
    ]


def operation(query: object) -> Operation:
    fields = root_fields(query)
    if not fields:
        return Operation.OTHER
    first = fields[0]
    if first.name.value == "myself" and first.selection_set is not None:
        asked = [
            one.name.value for one in first.selection_set.selections if isinstance(one, FieldNode)
        ]
        return Operation.LIST if "pods" in asked else Operation.OTHER
    return _OPERATIONS.get(first.name.value, Operation.OTHER)


def is_open(query: object) -> bool:
    """Whether a query asks only for what RunPod tells without a key."""
    names = {field.name.value for field in root_fields(query)}
    return bool(names) and names <= OPEN_TO_ALL


def run(root: Root, body: Mapping[str, Any]) -> Fields:
    """The body of the answer: ``data`` and, where something was refused, ``errors``."""
    query, variables = body.get("query"), body.get("variables")
    if not isinstance(query, str):
        return {"errors": [{"message": "Must provide query string."}]}
    result = graphql_sync(
        SCHEMA_BUILT,
        query,
        root_value=root,
        variable_values=variables if isinstance(variables, dict) else None,
        operation_name=body.get("operationName"),
    )
    return dict(result.formatted)


def said(refused: Refused) -> GraphQLError:
    code = CODES.get(refused.trouble, "INTERNAL_SERVER_ERROR")
    return GraphQLError(refused.detail or str(refused.trouble), extensions={"code": code})


def _plain(act: Callable[[], Any], missing: str = "pod not found") -> Any:
    """Run it; a refusal becomes a GraphQL error in RunPod's words."""
    try:
        return act()
    except Refused as refused:
        words = {Trouble.MISSING: missing, Trouble.NO_CAPACITY: pods.NO_INSTANCES}
        refused.detail = words.get(refused.trouble, refused.detail)
        raise said(refused) from refused


class Root:
    """The root of queries and mutations: names are RunPod's."""

    def __init__(self, world: World, account: Account) -> None:
        self._world = world
        self._account = account

    def gpuTypes(self, _: object, input: Fields | None = None) -> list[Fields]:
        kinds = catalog.gpu_types(self._world.shelves())
        wanted = (input or {}).get("id")
        ids = (input or {}).get("ids") or ([wanted] if wanted else [])
        return [views.gpu(kind) for kind in kinds if not ids or kind.gpu_id in ids]

    def dataCenters(self, _: object) -> list[Fields]:
        centers: dict[str, list[Shelf]] = {}
        for shelf in self._world.shelves():
            if shelf.stock.region:
                centers.setdefault(shelf.stock.region, []).append(shelf)
        return [views.center(name, found) for name, found in sorted(centers.items())]

    def myself(self, _: object) -> Fields:
        world, keys = self._world, self._account.public_keys
        balance = world.balance_nano()
        spends = sum(machine.rate_nano(world.rules.gpu_billed) for machine in world.alive())
        return {
            "id": self._account.user_id,
            "email": self._account.email,
            "authId": "stand-in",
            "pubKey": "\n".join(keys),
            "networkVolumes": [views.volume(one) for one in self._account.volumes.values()],
            "pods": lambda _: [views.pod(world, seen) for seen in world.listing()],
            "pod": lambda _, id=None: self.pod(_, {"podId": id}),
            "clientBalance": None if balance is None else dollars(balance),
            "currentSpendPerHr": dollars(spends),
            "spendLimit": SPEND_LIMIT,
            "creditBalance": 0.0,
            "machineQuota": world.rules.machines_max or 0,
            "underBalance": balance is not None and balance <= 0,
            "containerRegistryCreds": [],
            "podTemplates": [],
            "endpoints": [],
        }

    def pod(self, _: object, input: Fields | None = None) -> Fields | None:
        """A pod that is not there is null, not an error."""
        try:
            return views.pod(self._world, self._world.get(str((input or {}).get("podId"))))
        except Refused as refused:
            if refused.trouble == Trouble.MISSING:
                return None
            raise said(refused) from refused

    def podFindAndDeployOnDemand(self, _: object, input: Fields | None = None) -> Fields:
        return self._rent(_wish(input or {}))

    def podRentInterruptable(self, _: object, input: Fields) -> Fields:
        return self._rent(_wish(input, bid=input["bidPerGpu"]))

    def deployCpuPod(self, _: object, input: Fields) -> Fields:
        flavor, _, size = str(input.get("instanceId") or "cpu3c-2-4").partition("-")
        count = size.partition("-")[0]
        if not count.isdigit():
            raise said(Refused(Trouble.BAD_REQUEST, "unknown instanceId"))
        return self._rent(
            _wish({**input, "cloudType": "ALL", "gpuCount": int(count)}, flavor=flavor)
        )

    def podStop(self, _: object, input: Fields) -> Fields:
        return self._moved(lambda: self._world.stop(input["podId"]))

    def podResume(self, _: object, input: Fields) -> Fields:
        return self._moved(lambda: pods.resume(self._world, input["podId"], input.get("gpuCount")))

    def podBidResume(self, _: object, input: Fields) -> Fields:
        bid_nano, count = int(Decimal(str(input["bidPerGpu"])) * NANO), input["gpuCount"]
        return self._moved(
            lambda: pods.resume(self._world, input["podId"], count, bid_nano=bid_nano)
        )

    def podTerminate(self, _: object, input: Fields) -> None:
        _plain(lambda: self._world.terminate(input["podId"]), "pod not found to terminate")

    def updateUserSettings(self, info: object, input: Fields | None = None) -> Fields:
        keys = str((input or {}).get("pubKey") or "").splitlines()
        self._account.public_keys = [key.strip() for key in keys if key.strip()]
        return self.myself(info)

    def createNetworkVolume(self, _: object, input: Fields) -> Fields:
        name, size, center = input["name"], input["size"], input["dataCenterId"]
        return views.volume(
            _plain(lambda: self._account.make_volume(name, size, center, "STANDARD"))
        )

    def deleteNetworkVolume(self, _: object, input: Fields) -> None:
        words = "Tried to delete nonexistent network volume"
        _plain(lambda: self._account.remove_volume(input["id"]), words)

    def _rent(self, wish: Wish) -> Fields:
        machine: Machine = _plain(lambda: pods.order(self._world, wish))
        return views.pod(self._world, Seen(machine, machine.state))

    def _moved(self, act: Callable[[], Machine]) -> Fields:
        machine: Machine = _plain(act)
        return views.pod(self._world, Seen(machine, machine.state))


def _wish(given: Fields, *, flavor: str = "", bid: float | None = None) -> Wish:
    cloud, center = given.get("cloudType") or "ALL", given.get("dataCenterId")
    env = {one["key"]: one["value"] for one in given.get("env") or []}
    ports = tuple(one.strip() for one in (given.get("ports") or "").split(",") if one.strip())
    if not flavor and not given.get("gpuTypeId"):
        raise said(Refused(Trouble.BAD_REQUEST, "gpuTypeId is required"))
    count = given.get("gpuCount") or 1

    def make() -> Wish:
        for port in ports:
            pods.port_of(port)
        return Wish(
            name=given.get("name") or "pod",
            image=given.get("imageName") or "",
            gpu_id=given.get("gpuTypeId") or "",
            flavor=flavor,
            count=count,
            cloud="" if cloud == "ALL" else cloud,
            centers=(center,) if center else (),
            country=given.get("countryCode") or "",
            args=given.get("dockerArgs") or "",
            env=pods.checked_env(env),
            ports=ports,
            disk_gb=given.get("containerDiskInGb") or 0,
            volume_gb=given.get("volumeInGb") or 0,
            volume_path=given.get("volumeMountPath") or "",
            network_volume=given.get("networkVolumeId") or "",
            bid_nano=None if bid is None else int(Decimal(str(bid)) * NANO),
        )

    wish: Wish = _plain(make)
    return wish
