"""Reading REST v2 bodies and queries as strictly as RunPod does: 422 for shape, 400 for rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from standins.clouds.refusals import Refused, Trouble
from standins.clouds.runpod.catalog import Fields, country
from standins.clouds.runpod.pods import Wish, checked_env, port_of
from standins.clouds.shell import Request
from standins.clouds.stock import Shelf

_CONTAINER: Mapping[str, type] = {
    "image": str,
    "args": str,
    "disk": int,
    "env": dict,
    "ports": list,
    "registry": str,
    "mounts": dict,
    "name": str,
    "templateId": str,
    "globalNetworking": bool,
}
_POD = {
    **_CONTAINER,
    "cloud": str,
    "cpu": dict,
    "gpu": dict,
    "dataCenterIds": list,
    "startJupyter": bool,
    "startSsh": bool,
}
_GPU: Mapping[str, type] = {
    "id": str,
    "count": int,
    "allowedCudaVersions": list,
    "minCudaVersion": str,
    "minRamPerGpu": int,
    "minVcpuCountPerGpu": int,
}
_ACTIONS = ("start", "stop", "restart", "terminate")
_KEY = re.compile(r"(ssh|ecdsa|sk)-\S+ \S+([ \t][^\n\r]*)?")


def unprocessable(detail: str) -> Refused:
    return Refused(Trouble.BAD_REQUEST, detail, status=422)


def read_pod(body: Any) -> Wish:
    """A pod's order; raises ``Refused``."""
    given = _checked(body, _POD, "body")
    if not given.get("name"):
        raise unprocessable("name is required")
    if not given.get("image") and not given.get("templateId"):
        raise unprocessable("image is required unless templateId is set")
    if ("gpu" in given) == ("cpu" in given):
        raise Refused(Trouble.BAD_REQUEST, "exactly one of gpu and cpu must be set")
    cloud = given.get("cloud", "SECURE")
    if cloud not in ("SECURE", "COMMUNITY"):
        raise unprocessable("cloud is SECURE or COMMUNITY")
    wish = _container(given, Wish(given["name"], ""))
    centers = tuple(str(center) for center in given.get("dataCenterIds", ()))
    wish = replace(wish, cloud=cloud, centers=centers)
    if "gpu" in given:
        gpu = _checked(given["gpu"], _GPU, "gpu")
        if not gpu.get("id") or gpu.get("count", 1) < 1:
            raise unprocessable("gpu.id is required, gpu.count is 1 or more")
        if gpu.get("allowedCudaVersions") and "minCudaVersion" in gpu:
            raise Refused(Trouble.BAD_REQUEST, "allowedCudaVersions excludes minCudaVersion")
        return replace(wish, gpu_id=gpu["id"], count=gpu.get("count", 1))
    cpu = _checked(given["cpu"], {"id": str, "vcpuCount": int}, "cpu")
    if not cpu.get("id") or cpu.get("vcpuCount", 0) < 2:
        raise unprocessable("cpu.id and cpu.vcpuCount (2 or more) are required")
    if "persistent" in given.get("mounts", {}):
        raise Refused(Trouble.BAD_REQUEST, "a CPU pod has no persistent mount")
    return replace(wish, flavor=cpu["id"], count=cpu["vcpuCount"])


def patch_pod(body: Any, wish: Wish) -> tuple[Wish, bool | None]:
    """The changed order, and the lock where it is to change."""
    given = _checked(body, {**_CONTAINER, "locked": bool}, "body")
    if "name" in given and not given["name"]:
        raise unprocessable("name is not empty")
    wish = _container(given, wish)
    return replace(wish, name=given.get("name", wish.name)), given.get("locked")


def _container(given: Mapping[str, Any], wish: Wish) -> Wish:
    for port in given.get("ports", ()):
        port_of(str(port))
    if given.get("disk", 1) < 1:
        raise unprocessable("disk is 1 or more")
    wish = replace(
        wish,
        image=given.get("image", wish.image),
        args=given.get("args", wish.args),
        disk_gb=given.get("disk", wish.disk_gb),
        ports=tuple(given.get("ports", wish.ports)),
        env=checked_env(given["env"]) if "env" in given else wish.env,
    )
    mounts = given.get("mounts", {})
    if "persistent" in mounts and "network" in mounts:
        raise Refused(Trouble.BAD_REQUEST, "a pod has a persistent or a network mount")
    if "persistent" in mounts:
        disk = _checked(mounts["persistent"], {"size": int, "path": str}, "mounts.persistent")
        if disk.get("size", 0) < 10:
            raise unprocessable("mounts.persistent.size is 10 or more")
        wish = replace(wish, volume_gb=disk["size"], volume_path=disk.get("path", ""))
    if mounts.get("network"):
        found = mounts["network"]
        if not isinstance(found, list) or len(found) != 1:
            raise Refused(Trouble.BAD_REQUEST, "at most one network mount")
        place = _checked(found[0], {"volumeId": str, "path": str}, "mounts.network")
        volume, path = place.get("volumeId", ""), place.get("path", "")
        wish = replace(wish, network_volume=volume, volume_path=path)
    return wish


def mounts(wish: Wish) -> Fields:
    """The mounts of a pod as it is told."""
    if wish.network_volume:
        return {"network": [{"volumeId": wish.network_volume, "path": wish.volume_path}]}
    if wish.volume_gb:
        return {"persistent": {"size": wish.volume_gb, "path": wish.volume_path}}
    return {}


def read_action(body: Any) -> str:
    action = _checked(body, {"action": str}, "body").get("action")
    if action not in _ACTIONS:
        raise unprocessable("action is one of: " + ", ".join(_ACTIONS))
    return str(action)


def read_volume(body: Any) -> tuple[str, int, str, str]:
    kinds = {"name": str, "size": int, "dataCenter": str, "type": str}
    given = _checked(body, kinds, "body")
    missing = [name for name in ("name", "size", "dataCenter") if not given.get(name)]
    if missing:
        raise unprocessable(f"required: {', '.join(missing)}")
    return given["name"], given["size"], given["dataCenter"], given.get("type", "STANDARD")


def patch_volume(body: Any, name: str, size_gb: int) -> tuple[str, int]:
    given = _checked(body, {"name": str, "size": int}, "body")
    if given.get("size", size_gb) < size_gb:
        raise Refused(Trouble.BAD_REQUEST, "a network volume cannot shrink")
    return given.get("name", name), given.get("size", size_gb)


def read_keys(body: Any) -> list[str]:
    keys = _checked(body, {"keys": list}, "body").get("keys")
    if keys is None or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise unprocessable("keys is a list of SSH public keys")
    return list(keys)


@dataclass(frozen=True, slots=True)
class Availability:
    """Which availability a catalog request asks for."""

    wanted: bool = False
    count: int = 1
    secure: bool = True
    countries: tuple[str, ...] = ()

    def fits(self, shelf: Shelf) -> bool:
        return not self.countries or country(shelf.stock) in self.countries


def read_availability(request: Request) -> Availability:
    """The query of ``/v2/catalog/gpus``; filters mean something only with the include."""
    include, product = request.one("include"), request.one("product")
    filters = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")
    if not include:
        if used := [name for name in filters if request.one(name)]:
            raise Refused(Trouble.BAD_REQUEST, f"{used[0]} needs include=AVAILABILITY")
        return Availability()
    if include != "AVAILABILITY":
        raise unprocessable("include is AVAILABILITY")
    if not product:
        raise Refused(Trouble.BAD_REQUEST, "include=AVAILABILITY needs product")
    if set(product.split(",")) - {"POD", "CLUSTER", "SERVERLESS"}:
        raise unprocessable("product is POD, CLUSTER or SERVERLESS")
    if request.one("cudaVersions") and request.one("minCudaVersion"):
        raise Refused(Trouble.BAD_REQUEST, "cudaVersions excludes minCudaVersion")
    count, cloud = request.one("count") or "1", request.one("cloud") or "SECURE"
    countries = tuple(code for code in request.one("countryCodes").split(",") if code)
    if not count.isdigit() or int(count) < 1 or cloud not in ("SECURE", "COMMUNITY"):
        raise unprocessable("count is 1 or more, cloud is SECURE or COMMUNITY")
    if any(not re.fullmatch("[A-Z]{2}", code) for code in countries):
        raise unprocessable("countryCodes are two upper-case letters each")
    return Availability(True, int(count), cloud == "SECURE", countries)


def _checked(given: Any, kinds: Mapping[str, type], place: str) -> dict[str, Any]:
    """An object with known fields of the right kinds; null stands for a field left out."""
    if not isinstance(given, dict):
        raise unprocessable(f"{place} is an object")
    if unknown := sorted(set(given) - set(kinds)):
        raise unprocessable(f"{place} has unknown fields: {', '.join(unknown)[:200]}")
    kept = {name: value for name, value in given.items() if value is not None}
    for name, value in kept.items():
        right = type(value) is kinds[name]  # a bool is no integer here
        if not right:
            raise unprocessable(f"{place}.{name} is of type {kinds[name].__name__}")
    return kept
