"""What GraphQL of the RunPod stand-in shows of pods, GPUs and data centres."""

from __future__ import annotations

from standins.clouds.machine import Machine, State
from standins.clouds.rules import Seen
from standins.clouds.runpod import catalog, pods
from standins.clouds.runpod.account import Volume
from standins.clouds.runpod.catalog import Fields, GpuType, country, dollars
from standins.clouds.stock import Shelf
from standins.clouds.world import World

DESIRED = {
    State.STOPPED: "EXITED",
    State.INTERRUPTED: "EXITED",
    State.FAILED: "DEAD",
    State.TERMINATING: "TERMINATED",
    State.GONE: "TERMINATED",
}


def pod(world: World, seen: Seen) -> Fields:
    machine, wish = seen.machine, pods.wish_of(seen.machine)
    stock, count = machine.stock, machine.rental.gpus
    state, started = pods.shown_state(seen), pods.started_ns(machine)
    running = state == State.RUNNING
    return {
        "id": machine.machine_id,
        "name": wish.name,
        "imageName": wish.image,
        "env": [f"{name}={value}" for name, value in wish.env.items()],
        "machineId": f"m-{machine.machine_id[:10]}",
        "machine": {
            "podHostId": f"{machine.machine_id}-standin",
            "gpuDisplayName": stock.extra.get("name", stock.gpu_name),
            "gpuTypeId": stock.gpu_name,
            "location": country(stock),
            "dataCenterId": stock.region or None,
            "secureCloud": stock.secure,
            "costPerHr": dollars(machine.gpu_rate_nano),
        },
        "containerDiskInGb": wish.disk_gb,
        "costPerHr": dollars(machine.gpu_rate_nano),
        "adjustedCostPerHr": dollars(machine.rate_nano(world.rules.gpu_billed)),
        "desiredStatus": DESIRED.get(seen.state, "RUNNING"),
        "dockerArgs": wish.args,
        "gpuCount": 0 if wish.flavor else count,
        "lastStatusChange": f"{machine.why or state}: "
        + pods.told_time(world, machine.past[-1][0]),
        "memoryInGb": stock.ram_gib * count,
        "podType": "INTERRUPTABLE" if machine.spot else "RESERVED",
        "ports": ",".join(wish.ports) or None,
        "uptimeSeconds": pods.uptime_seconds(world, machine) if running else 0,
        "vcpuCount": count if wish.flavor else stock.vcpus * count,
        "volumeInGb": wish.volume_gb,
        "volumeMountPath": wish.volume_path,
        "runtime": _runtime(world, machine) if running else None,
        "createdAt": pods.told_time(world, machine.made_ns),
        "lastStartedAt": None if started is None else pods.told_time(world, started),
        "locked": pods.is_locked(machine),
        "networkVolumeId": wish.network_volume or None,
    }


def _runtime(world: World, machine: Machine) -> Fields:
    gpus = range(machine.rental.gpus if machine.stock.gpu_name else 0)
    gpu = {"gpuUtilPercent": 0, "memoryUtilPercent": 0}
    ports = [_port(*pods.port_of(port)) for port in pods.wish_of(machine).ports]
    return {
        "uptimeInSeconds": pods.uptime_seconds(world, machine),
        "ports": ports,
        "gpus": [{"id": f"{machine.machine_id}-{place}", **gpu} for place in gpus],
        "container": {"cpuPercent": 0, "memoryPercent": 0},
    }


def gpu(kind: GpuType) -> Fields:
    secure, community = kind.price(secure=True), kind.price(secure=False)
    return {
        "id": kind.gpu_id,
        "displayName": kind.name,
        "manufacturer": kind.manufacturer,
        "memoryInGb": kind.memory_gb,
        "cudaCores": 0,
        "secureCloud": bool(kind.of(secure=True)),
        "communityCloud": bool(kind.of(secure=False)),
        "securePrice": secure,
        "communityPrice": community,
        "secureSpotPrice": kind.bid(secure=True),
        "communitySpotPrice": kind.bid(secure=False),
        "maxGpuCount": max(kind.count_max(secure=True), kind.count_max(secure=False)),
        "maxGpuCountSecureCloud": kind.count_max(secure=True),
        "maxGpuCountCommunityCloud": kind.count_max(secure=False),
        "minPodGpuCount": 1,
        "lowestPrice": lambda _, input=None: _lowest(kind, input or {}),
    }


def _lowest(kind: GpuType, ask: Fields) -> Fields:
    """Of one GPU, where so many are to be had in one machine; nulls where they are not."""
    count, secure = ask.get("gpuCount") or 1, ask.get("secureCloud")
    center, where = ask.get("dataCenterId"), ask.get("countryCode")
    fitting = [
        one
        for one in kind.shelves
        if (secure is None or one.stock.secure == secure)
        and (not center or one.stock.region == center)
        and (not where or country(one.stock) == where)
    ]
    roomy = [one for one in fitting if one.free >= count and one.stock.gpus >= count]
    told: Fields = {"gpuTypeId": kind.gpu_id, "gpuName": kind.name, "compliance": []}
    if not roomy:
        return {**told, "availableGpuCounts": []}
    best = min(roomy, key=lambda one: one.stock.price_nano).stock
    bids = [one.stock.bid_nano for one in roomy if one.stock.bid_nano is not None]
    most = max(min(one.free, one.stock.gpus) for one in fitting)
    return {
        **told,
        "uninterruptablePrice": dollars(best.price_nano),
        "minimumBidPrice": dollars(min(bids)) if bids else None,
        "minVcpu": best.vcpus * count,
        "minMemory": best.ram_gib * count,
        "stockStatus": catalog.level(roomy, count).capitalize(),
        "availableGpuCounts": list(range(1, most + 1)),
        "countryCode": country(best) or None,
    }


def center(name: str, shelves: list[Shelf]) -> Fields:
    def gpus(_: object, input: Fields | None = None) -> list[Fields]:
        count = (input or {}).get("gpuCount") or 1
        return [_available(one, count) for one in shelves if one.stock.gpu_name]

    return {
        "id": name,
        "name": name,
        "location": country(shelves[0].stock),
        "listed": True,
        "storageSupport": True,
        "globalNetwork": True,
        "compliance": [],
        "gpuAvailability": gpus,
    }


def _available(shelf: Shelf, count: int) -> Fields:
    how = catalog.level([shelf], count)
    stock = shelf.stock
    return {
        "id": stock.gpu_name,
        "gpuTypeId": stock.gpu_name,
        "displayName": stock.extra.get("name", stock.gpu_name),
        "gpuTypeDisplayName": stock.extra.get("name", stock.gpu_name),
        "stockStatus": None if how == "NONE" else how.capitalize(),
        "available": how != "NONE",
    }


def _port(number: int, kind: str) -> Fields:
    """Nothing is mapped here: the program listens on this machine under its own port."""
    return {
        "ip": "127.0.0.1",
        "isIpPublic": kind == "tcp",
        "privatePort": number,
        "publicPort": number,
        "type": kind,
    }


def volume(volume: Volume) -> Fields:
    return {
        "id": volume.volume_id,
        "name": volume.name,
        "size": volume.size_gb,
        "dataCenterId": volume.center,
    }
