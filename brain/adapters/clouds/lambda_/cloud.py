"""Lambda: data centres' virtual machines, rented by the minute, started by cloud-init."""

from __future__ import annotations

import re
from typing import Any, Unpack

from brain.adapters.clouds.buckets import Bucket
from brain.adapters.clouds.fields import text
from brain.adapters.clouds.http import CloudHttp, HttpLimits, Reach
from brain.adapters.clouds.lambda_.machines import endpoints_of, machine_of
from brain.adapters.clouds.lambda_.offers import CLOUD, offers_of
from brain.adapters.clouds.lambda_.orders import key_name_of, order_body
from brain.adapters.clouds.lambda_.refusals import judge
from brain.clouds import (
    CloudError,
    CloudFacts,
    CloudOffer,
    CloudRefused,
    Endpoint,
    Listing,
    Machine,
    MachineMissing,
    MachineState,
    Order,
    Unreadable,
)

# A launch may wait for its turn.
LIMITS = HttpLimits(bucket_seconds_max=15.0, throttled_seconds=2.0)
_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")


class LambdaCloud:
    """One account at Lambda. It cannot stop a machine, tell a balance, or sell one on the spot.

    The cloud takes one call a second and one launch in 12 s; we ask for a tenth less, since calls
    that leave us evenly do not arrive so.
    """

    def __init__(self, **reach: Unpack[Reach]) -> None:
        clock = reach["clock"]
        buckets = [Bucket(clock, calls=9, seconds=10)]
        self._http = CloudHttp("Lambda", buckets=buckets, judge=judge, usual=LIMITS, **reach)
        self._launches = Bucket(clock, calls=1, seconds=13)
        self._key_names: set[str] = set()  # those seen in the account: spares a call, no more

    @property
    def name(self) -> str:
        return CLOUD

    @property
    def facts(self) -> CloudFacts:
        return CloudFacts(title="Lambda", boot_seconds_max=1800, boots_containers=False)

    async def offers(self) -> list[CloudOffer]:
        types = await self._told("/api/v1/instance-types")
        if not isinstance(types, dict):
            raise Unreadable("Lambda told its instance types in another shape.")
        return offers_of(types)

    async def create(self, order: Order) -> Machine:
        body = order_body(order)
        await self._have_key(key_name_of(order.tag))
        try:
            answer = await self._http.call(
                "POST",
                "/api/v1/instance-operations/launch",
                repeatable=False,
                json=body,
                buckets=[self._launches],
            )
        except MachineMissing as missing:
            self._key_names.clear()  # somebody took the key away: it is made again next time
            detail = "Lambda does not know the type, the region or the SSH key of a launch."
            raise CloudRefused(detail, code=missing.code) from None
        launched = answer.fields().get("data")
        ids = launched.get("instance_ids") if isinstance(launched, dict) else None
        if not (isinstance(ids, list) and len(ids) == 1 and isinstance(ids[0], str) and ids[0]):
            raise Unreadable("Lambda answered a launch without one id.")
        return Machine(
            machine_id=ids[0],
            tag=order.tag,
            state=MachineState.STARTING,
            cost_nano_hour=order.offer.price_nano * order.offer.gpus,
            gpu_name=order.offer.gpu_name,
            gpus=order.offer.gpus,
            region=order.offer.region,
        )

    async def _have_key(self, name: str) -> None:
        """A launch must name one SSH key. Ours is made by the cloud, and its private half is
        dropped with the answer: nobody can enter with it."""
        if name in self._key_names or await self._has_key(name):
            return
        try:
            await self._http.call("POST", "/api/v1/ssh-keys", repeatable=False, json={"name": name})
        except CloudError:
            if not await self._has_key(name):  # another of our calls was faster
                raise
        self._key_names.add(name)

    async def _has_key(self, name: str) -> bool:
        keys = await self._told("/api/v1/ssh-keys")
        if not isinstance(keys, list):
            raise Unreadable("Lambda told its SSH keys in another shape.")
        if not any(text(key, "name") == name for key in keys if isinstance(key, dict)):
            return False
        self._key_names.add(name)
        return True

    async def machine(self, machine_id: str) -> Machine:
        found = machine_of(await self._row(machine_id))
        if found is None or found.machine_id != machine_id:
            raise Unreadable("Lambda told of another instance than was asked for.")
        return found

    async def _row(self, machine_id: str) -> dict[str, Any]:
        row = await self._told(f"/api/v1/instances/{_id(machine_id)}")
        if not isinstance(row, dict):
            raise Unreadable("Lambda answered a question for one instance in another shape.")
        return row

    async def find_by_tag(self, tag: str) -> list[Machine]:
        listing = await self.listing()
        if not listing.complete:
            raise Unreadable(listing.why_incomplete)
        return [machine for machine in listing.machines if machine.tag == tag]

    async def listing(self) -> Listing:
        """All in one answer: this cloud has no pages."""
        rows = await self._told("/api/v1/instances")
        if not isinstance(rows, list):
            raise Unreadable("Lambda answered a listing without a list of instances.")
        read = [machine_of(row) if isinstance(row, dict) else None for row in rows]
        machines = tuple(machine for machine in read if machine is not None)
        if len(machines) < len(rows):
            why = "Lambda listed an instance that cannot be read."
            return Listing(machines, complete=False, why_incomplete=why)
        return Listing(machines, complete=True)

    async def terminate(self, machine_id: str) -> None:
        answer = await self._http.call(
            "POST",
            "/api/v1/instance-operations/terminate",
            repeatable=True,
            json={"instance_ids": [_id(machine_id)]},
        )
        if not isinstance(answer.fields().get("data"), dict):
            raise Unreadable("Lambda did not say that it was done.")

    async def endpoints(self, machine_id: str) -> list[Endpoint]:
        return endpoints_of(await self._row(machine_id))

    async def close(self) -> None:
        await self._http.close()

    async def _told(self, path: str) -> object:
        """What stands under ``data``, where every good answer has it."""
        answer = (await self._http.call("GET", path, repeatable=True)).fields()
        if "data" not in answer:
            raise Unreadable("Lambda answered without data.")
        return answer["data"]


def _id(machine_id: str) -> str:
    if not _ID.match(machine_id):
        raise MachineMissing("Lambda has no instance with such an id.")
    return machine_id
