"""The images that this agent pulled: which were private, when each was last used, how many stay.

Only images that the agent pulled itself are ever removed, and none that a container uses.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
from docker.errors import APIError, ImageNotFound
from msgspec import Struct

from node_agent.containers.client import Client
from node_agent.files import read_if_there, write_private

log = structlog.get_logger(__name__)
MIB = 1 << 20
IN_USE = 409
Reserved = Callable[[], int]  # MiB of the disk that volumes were promised and do not use yet


class Kept(Struct, frozen=True):
    """One image by its id. ``private``: it was pulled with credentials, so that every later use
    asks the registry again, with the credentials of the work that uses it."""

    name: str
    used_ns: int  # the wall clock's, only to tell older from newer
    private: bool = False


@dataclass(frozen=True)
class ImageLimits:
    reserve_mib: int = 5120  # of the disk stay free; without it nothing is pulled
    kept_mib_max: int = 200 * 1024  # of images that no container uses


class ImageBook:
    """Remembered on disk, by image id. Calls come from several threads."""

    def __init__(
        self, path: Path, limits: ImageLimits, *, now_ns: Callable[[], int], reserved: Reserved
    ) -> None:
        self._path = path
        self._limits = limits
        self._now_ns = now_ns
        self._reserved = reserved
        self._lock = threading.Lock()
        self._root: Path | None = None
        try:
            self._kept = msgspec.json.decode(read_if_there(path) or b"{}", type=dict[str, Kept])
        except msgspec.MsgspecError:
            self._kept = {}

    def has(self, api: Client, image: str) -> bool:
        """The image is here and may be used without asking its registry again."""
        try:
            found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
        known = self._kept.get(str(found["Id"]))
        return known is None or not known.private

    def used(self, api: Client, image: str, *, pulled: bool, private: bool) -> None:
        """Note a use. An image that was here before the agent is not written down."""
        try:
            found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return
        ref = str(found["Id"])
        with self._lock:
            known = self._kept.get(ref)
            if known is None and not pulled:
                return
            before = known is not None and known.private
            self._kept[ref] = Kept(image, self._now_ns(), private or before)
            self._save()

    def room(self, api: Client) -> str:
        """Why nothing more fits on Docker's disk, or an empty text."""
        free = self._free_mib(api)
        if free is None or free >= self._limits.reserve_mib:
            return ""
        return (
            f"the disk of this host has {free:,} MiB free, and {self._limits.reserve_mib:,} MiB"
            " (AGENT_DISK_RESERVE_MIB) are kept free."
        )

    def make_room(self, api: Client) -> str:
        """As ``room``, after unused images went, oldest first."""
        for ref in self._removable(api):
            if not self.room(api):
                return ""
            self._remove(api, ref)
        return self.room(api)

    def trim(self, api: Client) -> None:
        """Remove unused images, oldest first, until those that stay are within the limit."""
        sizes = {str(one["Id"]): int(one["Size"]) // MIB for one in api.images()}
        self._forget_absent(set(sizes))
        unused = self._removable(api)
        total = sum(sizes.get(ref, 0) for ref in unused)
        for ref in unused:
            if total <= self._limits.kept_mib_max:
                return
            if self._remove(api, ref):
                total -= sizes.get(ref, 0)

    def _removable(self, api: Client) -> list[str]:
        """Unused images of ours, the longest unused first."""
        busy = {str(one["ImageID"]) for one in api.containers(all=True)}
        mine = [(kept.used_ns, ref) for ref, kept in self._kept.items() if ref not in busy]
        return [ref for _, ref in sorted(mine)]

    def _remove(self, api: Client, ref: str) -> bool:
        kept = self._kept.get(ref)
        if kept is None:
            return False
        try:
            found: dict[str, Any] = api.inspect_image(ref)  # type: ignore[no-untyped-call]
            for name in found.get("RepoTags") or [ref]:
                api.remove_image(name)  # without force: a container made meanwhile keeps it
        except ImageNotFound:
            pass
        except APIError as error:
            if error.status_code != IN_USE:
                raise
            return False
        with self._lock:
            self._kept.pop(ref, None)
            self._save()
        log.info("image_removed", image=kept.name)
        return True

    def _forget_absent(self, present: set[str]) -> None:
        with self._lock:
            gone = set(self._kept) - present
            for ref in gone:
                del self._kept[ref]
            if gone:
                self._save()

    def _free_mib(self, api: Client) -> int | None:
        """Free and not promised to volumes; None where Docker's disk cannot be seen from here."""
        if self._root is None:
            self._root = Path(str(api.info()["DockerRootDir"]))
        try:
            return shutil.disk_usage(self._root).free // MIB - self._reserved()
        except OSError:
            return None

    def _save(self) -> None:
        write_private(self._path, msgspec.json.encode(self._kept))
