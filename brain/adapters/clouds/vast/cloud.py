"""Vast.ai: strangers' and data centres' machines, rented by the second as containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import msgspec

from brain.adapters.clouds.buckets import Bucket
from brain.adapters.clouds.fields import amount, nano, text, whole
from brain.adapters.clouds.http import CloudHttp, HttpLimits, Reach
from brain.adapters.clouds.vast.machines import endpoints_of, machine_of
from brain.adapters.clouds.vast.offers import CLOUD, ask_of, offers_of, search
from brain.adapters.clouds.vast.orders import order_body, refuses
from brain.adapters.clouds.vast.refusals import MadeAnyway, judge
from brain.clouds import (
    CloudError,
    CloudFacts,
    CloudOffer,
    CloudRefused,
    Container,
    Endpoint,
    Listing,
    Machine,
    MachineMissing,
    MachineState,
    NothingFree,
    Order,
    OutcomeUnknown,
    Unreadable,
)

PAGE_ROWS = 25  # the most that the cloud gives
PAGES_MAX = 400
SEARCH_DISK_GIB = 40
LIMITS = HttpLimits(answer_bytes_max=16 << 20)


class VastCloud:
    """One account at Vast.ai. Its limits are least intervals between calls of one kind; ours are
    a tenth longer, since calls that leave us evenly do not arrive so."""

    def __init__(self, **reach: Unpack[Reach]) -> None:
        clock = reach["clock"]
        self._http = CloudHttp("Vast.ai", judge=judge(clock), usual=LIMITS, **reach)
        self._searches = Bucket(clock, calls=2, seconds=4, burst=2)
        self._creates = Bucket(clock, calls=1, seconds=5)
        self._lists = Bucket(clock, calls=10, seconds=11)
        self._shows = Bucket(clock, calls=10, seconds=22)
        self._changes = Bucket(clock, calls=10, seconds=11)
        self._destroys = Bucket(clock, calls=10, seconds=33)

    @property
    def name(self) -> str:
        return CLOUD

    @property
    def facts(self) -> CloudFacts:
        return CloudFacts(title="Vast.ai", boot_seconds_max=1800, spot=True)

    async def offers(self) -> list[CloudOffer]:
        return [*await self._search(spot=False), *await self._search(spot=True)]

    async def _search(self, *, spot: bool) -> list[CloudOffer]:
        body = search(spot=spot, disk_gib=SEARCH_DISK_GIB)
        answer = await self._http.call(
            "POST", "/api/v0/bundles/", repeatable=True, json=body, buckets=[self._searches]
        )
        rows = answer.fields().get("offers")
        if not isinstance(rows, list):
            raise Unreadable("Vast.ai answered a search without a list of offers.")
        return offers_of(rows, spot=spot)

    def refuses(self, container: Container) -> str:
        return refuses(container)

    async def create(self, order: Order) -> Machine:
        try:
            ask = ask_of(order.offer.key)
        except ValueError:
            raise CloudRefused("This is not an offer of Vast.ai.") from None
        try:
            answer = await self._http.call(
                "PUT",
                f"/api/v0/asks/{ask}/",
                repeatable=False,
                json=order_body(order),
                buckets=[self._creates],
            )
        except MadeAnyway as made:
            await self._undo(made)
            raise made.cause from None
        except MachineMissing as missing:
            raise NothingFree("Vast.ai no longer has this offer.", code=missing.code) from None
        contract = whole(answer.fields(), "new_contract")
        if not contract or contract < 0:
            raise Unreadable("Vast.ai answered a create call without an id.")
        return Machine(
            machine_id=str(contract),
            tag=order.tag,
            state=MachineState.PROVISIONING,
            cost_nano_hour=order.offer.price_nano * order.offer.gpus
            + order.offer.storage_nano_gib_hour * order.disk_gib,
            gpu_name=order.offer.gpu_name,
            gpus=order.offer.gpus,
            region=order.offer.region,
        )

    async def _undo(self, made: MadeAnyway) -> None:
        """Destroy what a refused call made; if that is not certain, the tag must be looked for."""
        try:
            await self.terminate(str(made.instance))
        except MachineMissing:
            return
        except CloudError as wrong:
            raise OutcomeUnknown(
                "Vast.ai refused, made an instance all the same, and did not destroy it.",
                code=wrong.code,
            ) from None

    async def machine(self, machine_id: str) -> Machine:
        found = machine_of(await self._row(machine_id))
        if found is None or found.machine_id != machine_id:
            raise Unreadable("Vast.ai told of another instance than was asked for.")
        return found

    async def _row(self, machine_id: str) -> Mapping[str, Any]:
        """One instance: an object under a plural name, null where there is none."""
        answer = await self._http.call(
            "GET",
            f"/api/v0/instances/{_id(machine_id)}/",
            repeatable=True,
            query={"owner": "me"},
            buckets=[self._shows],
        )
        said = answer.fields()
        row = said.get("instances")
        if "instances" in said and row is None:
            raise MachineMissing("Vast.ai does not know this instance.")
        if not isinstance(row, dict):
            raise Unreadable("Vast.ai answered a question for one instance in another shape.")
        return row

    async def find_by_tag(self, tag: str) -> list[Machine]:
        listing = await self.listing()
        if not listing.complete:
            raise Unreadable(listing.why_incomplete)
        return [machine for machine in listing.machines if machine.tag == tag]

    async def listing(self) -> Listing:
        """Page by page. The number of all instances comes with each page: fewer is not all."""
        found: dict[str, Machine] = {}
        total, token, tokens = 0, "", set[str]()
        for _ in range(PAGES_MAX):
            page = await self._page(token)
            rows = page.get("instances")
            if not isinstance(rows, list):
                raise Unreadable("Vast.ai answered a listing without a list of instances.")
            for row in rows:
                machine = machine_of(row) if isinstance(row, dict) else None
                if machine is None:
                    return _partial(found, "Vast.ai listed an instance that cannot be read.")
                found[machine.machine_id] = machine
            total = max(total, whole(page, "total_instances") or 0)
            token = text(page, "next_token")
            if not token:
                if len(found) < total:
                    words = f"Vast.ai listed {len(found)} instances of {total}."
                    return _partial(found, words)
                return Listing(tuple(found.values()), complete=True)
            if token in tokens:
                return _partial(found, "Vast.ai gave the same page twice.")
            tokens.add(token)
        return _partial(found, f"Vast.ai listed more than {PAGES_MAX} pages.")

    async def _page(self, token: str) -> dict[str, Any]:
        query: dict[str, str | int] = {
            "limit": PAGE_ROWS,
            "select_filters": "{}",
            "order_by": msgspec.json.encode([{"col": "id", "dir": "asc"}]).decode(),
        }
        if token:
            query["after_token"] = token
        answer = await self._http.call(
            "GET", "/api/v1/instances/", repeatable=True, query=query, buckets=[self._lists]
        )
        return answer.fields()

    async def terminate(self, machine_id: str) -> None:
        await self._ask("DELETE", machine_id, {}, self._destroys)

    async def stop(self, machine_id: str) -> None:
        await self._ask("PUT", machine_id, {"state": "stopped"}, self._changes)

    async def start(self, machine_id: str) -> None:
        await self._ask("PUT", machine_id, {"state": "running"}, self._changes)

    async def _ask(
        self, method: str, machine_id: str, body: dict[str, str], bucket: Bucket
    ) -> None:
        """Ask something of one instance that may be asked again."""
        path = f"/api/v0/instances/{_id(machine_id)}/"
        answer = await self._http.call(method, path, repeatable=True, json=body, buckets=[bucket])
        if answer.fields().get("success") is not True:
            raise Unreadable("Vast.ai did not say that it was done.")

    async def endpoints(self, machine_id: str) -> list[Endpoint]:
        return endpoints_of(await self._row(machine_id))

    async def balance_nano(self) -> int:
        """``credit`` is what can be spent; ``balance`` is something else."""
        answer = await self._http.call("GET", "/api/v0/users/current", repeatable=True)
        credit = amount(answer.fields(), "credit")
        if credit is None:
            raise Unreadable("Vast.ai told of an account without its credit.")
        return -nano(-credit)

    async def close(self) -> None:
        await self._http.close()


def _id(machine_id: str) -> int:
    if not (machine_id.isascii() and machine_id.isdigit() and len(machine_id) <= 19):
        raise MachineMissing("Vast.ai has no instance with such an id.")
    return int(machine_id)


def _partial(found: dict[str, Machine], why: str) -> Listing:
    return Listing(tuple(found.values()), complete=False, why_incomplete=why)
