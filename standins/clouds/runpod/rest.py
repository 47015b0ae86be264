"""REST v2 of the RunPod stand-in: ``/v2/pods``, ``/v2/catalog``, volumes, keys, billing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from kernel.clock import NS
from standins.clouds.faults import Operation
from standins.clouds.machine import Machine, State
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Seen
from standins.clouds.runpod import bodies, catalog, pods
from standins.clouds.runpod.account import Account
from standins.clouds.runpod.catalog import Fields, dollars
from standins.clouds.shell import Answer, Request, as_json
from standins.clouds.world import World

STATUS = {
    State.ACCEPTED: "PROVISIONING",
    State.BOOTING: "STARTING",
    State.RUNNING: "RUNNING",
    State.STOPPED: "EXITED",
    State.INTERRUPTED: "EXITED",
    State.FAILED: "ERROR",
    State.GONE: "TERMINATED",
}
ACTIONS = {
    "PROVISIONING": ("stop", "terminate"),
    "STARTING": ("stop", "terminate"),
    "RUNNING": ("stop", "restart", "terminate"),
    "EXITED": ("start", "terminate"),
    "ERROR": ("terminate",),
    "TERMINATED": (),
}
LOG_LINES_MAX = 1000
Handler = Callable[["Rest", Request, str], Answer]
_ID = r"([A-Za-z0-9_-]{1,64})"


class Rest:
    """The routes; keys and limits are the dialect's."""

    def __init__(self, world: World, account: Account) -> None:
        self._world = world
        self._account = account

    def answer(self, request: Request) -> Answer:
        known = False
        for pattern, handlers in _ROUTES:
            found = pattern.fullmatch(request.path)
            if found is None:
                continue
            known = True
            if request.method in handlers:
                return handlers[request.method][1](self, request, (*found.groups(), "")[0])
        status = 405 if known else 404
        raise Refused(
            Trouble.UNROUTED, "method not allowed" if known else "not found", status=status
        )

    # --- pods -----------------------------------------------------------------------------------

    def _list(self, request: Request, _: str) -> Answer:
        return as_json({"pods": [self._pod(seen) for seen in self._world.listing()]})

    def _create(self, request: Request, _: str) -> Answer:
        wish = bodies.read_pod(request.json())
        if wish.network_volume:
            volume = self._account.volume(wish.network_volume)
            if wish.centers and volume.center not in wish.centers:
                raise Refused(Trouble.BAD_REQUEST, "the network volume is in another data center")
        machine = pods.order(self._world, wish)
        return as_json(self._pod(Seen(machine, machine.state)), 201)

    def _get(self, request: Request, pod_id: str) -> Answer:
        return as_json(self._pod(self._world.get(pod_id)))

    def _patch(self, request: Request, pod_id: str) -> Answer:
        seen = self._world.get(pod_id)
        wish, locked = bodies.patch_pod(request.json(), pods.wish_of(seen.machine))
        seen.machine.details["wish"] = wish
        seen.machine.tag = wish.name
        if locked is not None:
            seen.machine.details["locked"] = locked
        return as_json(self._pod(seen))

    def _delete(self, request: Request, pod_id: str) -> Answer:
        self._world.terminate(pod_id)
        return Answer(204, b"", "")

    def _act(self, request: Request, pod_id: str) -> Answer:
        action = bodies.read_action(request.json())
        if action == "terminate":
            return self._delete(request, pod_id)
        if action == "start":
            return self._shown(self._world.start(pod_id))
        machine = self._world.get(pod_id).machine
        if pods.is_locked(machine):
            raise Refused(Trouble.CONFLICT, "the pod is locked")
        if action == "restart" and machine.state != State.RUNNING:
            raise Refused(Trouble.CONFLICT, f"a pod that is {machine.state} cannot restart")
        machine = self._world.stop(pod_id)
        if action == "restart" and machine.state == State.STOPPED:
            machine = self._world.start(pod_id)
        return self._shown(machine)

    def _logs(self, request: Request, pod_id: str) -> Answer:
        """Everything that was written so far; a real stream would go on."""
        machine = self._world.get(pod_id).machine
        launcher = self._world.launcher
        lines = launcher.output(machine.machine_id, LOG_LINES_MAX) if launcher else []
        at = pods.told_time(self._world, self._world.now_ns)
        events = [
            f"id: {at}/{number}\ndata: "
            + json.dumps({"ts": at, "source": "container", "line": line})
            + "\n\n"
            for number, line in enumerate(lines)
        ]
        headers = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
        return Answer(200, "".join(events).encode(), "text/event-stream", headers)

    def _shown(self, machine: Machine) -> Answer:
        return as_json(self._pod(Seen(machine, machine.state)))

    def _pod(self, seen: Seen) -> Fields:
        machine, wish = seen.machine, pods.wish_of(seen.machine)
        status = STATUS[pods.shown_state(seen)]
        running = status == "RUNNING"
        stock, count = machine.stock, machine.rental.gpus
        started = pods.started_ns(machine)
        fields: Fields = {
            "id": machine.machine_id,
            "name": wish.name,
            "image": wish.image,
            "args": wish.args,
            "disk": wish.disk_gb,
            "ports": list(wish.ports),
            "env": dict(wish.env),
            "registry": None,
            "status": status,
            "actions": list(ACTIONS[status]),
            "mounts": bodies.mounts(wish),
            "cloud": "SECURE" if stock.secure else "COMMUNITY",
            "dataCenterId": stock.region or None,
            "cudaVersion": stock.extra.get("cuda"),
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if status == "EXITED" else dollars(machine.gpu_rate_nano),
            "locked": pods.is_locked(machine),
            "globalNetworking": {"enabled": False},
            "runtime": self._runtime(machine) if running else None,
            "createdAt": pods.told_time(self._world, machine.made_ns),
            "startedAt": None if started is None else pods.told_time(self._world, started),
        }
        if wish.flavor:
            memory = stock.ram_gib * count
            return {**fields, "cpu": {"id": wish.flavor, "vcpuCount": count, "memory": memory}}
        size = {"vcpuCount": stock.vcpus * count, "memory": stock.ram_gib * count}
        return {**fields, "gpu": {"id": stock.gpu_name, "count": count, **size}}

    def _runtime(self, machine: Machine) -> Fields:
        ports = []
        for number, kind in map(pods.port_of, pods.wish_of(machine).ports):
            # Nothing is mapped here: the program listens on this machine under its own port.
            place = {"public": number, "ip": "127.0.0.1"} if kind == "tcp" else {}
            ports.append({"private": number, "public": None, "ip": None, "type": kind, **place})
        return {
            "uptime": pods.uptime_seconds(self._world, machine),
            "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(machine.rental.gpus)],
            "cpu": {"util": 0},
            "memory": {"util": 0},
            "ports": ports,
        }

    # --- catalog --------------------------------------------------------------------------------

    def _gpus(self, request: Request, _: str) -> Answer:
        ask = bodies.read_availability(request)
        told = []
        for kind in catalog.gpu_types(self._world.shelves()):
            fields = self._gpu_fields(kind, ask)
            if not ask.countries or "dataCenters" in fields:
                told.append(fields)
        return as_json({"gpus": told})

    def _gpu(self, request: Request, gpu_id: str) -> Answer:
        ask = bodies.read_availability(request)
        for kind in catalog.gpu_types(self._world.shelves()):
            if kind.gpu_id == gpu_id:
                return as_json(self._gpu_fields(kind, ask))
        raise Refused(Trouble.MISSING, "gpu type not found")

    def _gpu_fields(self, kind: catalog.GpuType, ask: bodies.Availability) -> Fields:
        fields = catalog.rest_gpu(kind)
        if ask.wanted:
            shelves = [one for one in kind.of(secure=ask.secure) if ask.fits(one)]
            fields |= catalog.rest_availability(shelves, ask.count)
        return fields

    def _centers(self, request: Request, _: str) -> Answer:
        include = set(request.one("include").split(",")) - {""}
        if include - {"GPU_AVAILABILITY", "CPU_AVAILABILITY"}:
            raise Refused(Trouble.BAD_REQUEST, "unknown include", status=422)
        gpus, cpus = "GPU_AVAILABILITY" in include, "CPU_AVAILABILITY" in include
        centers = catalog.rest_centers(self._world.shelves(), gpus=gpus, cpus=cpus)
        return as_json({"dataCenters": centers})

    def _cpus(self, request: Request, _: str) -> Answer:
        return as_json({"cpus": catalog.rest_cpus(self._world.shelves())})

    # --- the rest of the account ------------------------------------------------------------------

    def _volumes(self, request: Request, _: str) -> Answer:
        shown = [volume.shown() for volume in self._account.volumes.values()]
        return as_json({"networkVolumes": shown})

    def _make_volume(self, request: Request, _: str) -> Answer:
        name, size, center, kind = bodies.read_volume(request.json())
        return as_json(self._account.make_volume(name, size, center, kind).shown(), 201)

    def _volume(self, request: Request, volume_id: str) -> Answer:
        return as_json(self._account.volume(volume_id).shown())

    def _patch_volume(self, request: Request, volume_id: str) -> Answer:
        volume = self._account.volume(volume_id)
        name, size = bodies.patch_volume(request.json(), volume.name, volume.size_gb)
        volume.name, volume.size_gb = name, size
        return as_json(volume.shown())

    def _remove_volume(self, request: Request, volume_id: str) -> Answer:
        self._account.remove_volume(volume_id)
        return Answer(204, b"", "")

    def _keys(self, request: Request, _: str) -> Answer:
        if request.method == "PUT":
            self._account.public_keys = bodies.read_keys(request.json())
        return as_json({"keys": self._account.public_keys})

    def _bill(self, request: Request, _: str) -> Answer:
        """One record a pod from its order to now, whatever buckets were asked for."""
        self._world.advance()
        wanted, records = request.one("podId"), []
        for machine in self._world.machines.values():
            if wanted in ("", machine.machine_id):
                disk = machine.disk_nano()
                records.append(
                    {
                        "podId": machine.machine_id,
                        "startTime": pods.told_time(self._world, machine.made_ns),
                        "endTime": pods.told_time(self._world, self._world.now_ns + NS),
                        "totalAmount": dollars(machine.cost_nano()),
                        "gpuAmount": dollars(machine.cost_nano() - disk),
                        "cpuAmount": 0.0,
                        "diskAmount": dollars(disk),
                    }
                )
        return as_json({"records": records, "metadata": {}})


def operation(request: Request) -> Operation:
    for pattern, handlers in _ROUTES:
        if pattern.fullmatch(request.path) and request.method in handlers:
            known = handlers[request.method][0]
            return _action_operation(request) if known is None else known
    return Operation.OTHER


def _action_operation(request: Request) -> Operation:
    try:
        body: Any = json.loads(request.body)
    except ValueError:
        return Operation.OTHER
    action = body.get("action") if isinstance(body, dict) else None
    kinds = {"start": Operation.START, "terminate": Operation.TERMINATE}
    return kinds.get(str(action), Operation.STOP)


def _route(path: str, **handlers: tuple[Operation | None, Handler]) -> _Route:
    return re.compile("/v2" + path), handlers


_Route = tuple[re.Pattern[str], dict[str, tuple[Operation | None, Handler]]]
_OP = Operation
_ROUTES: tuple[_Route, ...] = (
    _route("/pods", GET=(_OP.LIST, Rest._list), POST=(_OP.CREATE, Rest._create)),
    _route(
        f"/pods/{_ID}",
        GET=(_OP.GET, Rest._get),
        PATCH=(_OP.OTHER, Rest._patch),
        DELETE=(_OP.TERMINATE, Rest._delete),
    ),
    _route(f"/pods/{_ID}/action", POST=(None, Rest._act)),
    _route(f"/pods/{_ID}/logs", GET=(_OP.OTHER, Rest._logs)),
    _route("/catalog/gpus", GET=(_OP.OFFERS, Rest._gpus)),
    _route("/catalog/gpus/([^/]{1,100})", GET=(_OP.OFFERS, Rest._gpu)),
    _route("/catalog/datacenters", GET=(_OP.OFFERS, Rest._centers)),
    _route("/catalog/cpus", GET=(_OP.OFFERS, Rest._cpus)),
    _route(
        "/network-volumes",
        GET=(_OP.OTHER, Rest._volumes),
        POST=(_OP.OTHER, Rest._make_volume),
    ),
    _route(
        f"/network-volumes/{_ID}",
        GET=(_OP.OTHER, Rest._volume),
        PATCH=(_OP.OTHER, Rest._patch_volume),
        DELETE=(_OP.OTHER, Rest._remove_volume),
    ),
    _route("/account/ssh-keys", GET=(_OP.OTHER, Rest._keys), PUT=(_OP.OTHER, Rest._keys)),
    _route("/billing/pods", GET=(_OP.OTHER, Rest._bill)),
)
