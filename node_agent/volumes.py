"""Volumes: folders of this node that outlive containers, each with its own size.

Where the agent is root and the host can, a volume is a file with an ext4 file system of its size,
mounted through a loop device: it cannot grow past its size. Elsewhere it is a plain folder that
is measured, and work whose volume exceeds its size is stopped.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from kernel.clock import Clock
from kernel.wire.agent import Beat, BeatAnswer, VolumeMount, VolumeSeen
from node_agent.bell import Bell
from node_agent.engine import Engine, EngineAway, StartFailed, StartRefused
from node_agent.loop_disks import Disks, DiskTrouble, folder_mib
from node_agent.records import Work

log = structlog.get_logger(__name__)
MIB = 1 << 20
GIB_MIB = 1024
ROUND_SECONDS = 60.0
DROP_SECONDS = 5.0  # between looks whether a volume that is to go is still used
TOLD_MAX = 256  # as the wire allows
SLACK_SHARE = 0.05  # a measured folder may exceed its size by this much
SLACK_MIB = 64
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class Volume:
    """One volume as it lies on the disk. ``image`` is there where it has its own file system."""

    volume_id: str
    home: Path
    size_mib: int

    @property
    def image(self) -> Path:
        return self.home / "disk.ext4"

    @property
    def mount_point(self) -> Path:
        return self.home / "mounted"

    @property
    def data(self) -> Path:
        """What the container sees; beside it lies what a file system makes for itself."""
        return (self.mount_point if self.image.exists() else self.home) / "data"

    @property
    def drop_mark(self) -> Path:
        return self.home / "drop"


class NoVolumes:
    """For a hand that was given none."""

    def prepare(self, mounts: list[VolumeMount]) -> Mapping[str, str]:
        if mounts:
            raise StartRefused("This agent keeps no volumes.")
        return {}


class Looks(Protocol):
    async def look(self) -> tuple[Work, ...]: ...


class Volumes:
    """An ``Extra``: the volumes below ``home``. ``prepare`` is called from the engine's threads."""

    def __init__(self, home: Path, clock: Clock, *, disks: Disks | None) -> None:
        self._home = home
        self._disks = disks
        self._engine: Looks | None = None
        self._bell = Bell(clock)
        self._used: dict[str, int] = {}

    def serve(self, engine: Engine) -> None:
        """The engine whose containers use the volumes: nothing is removed before it is known."""
        self._engine = engine

    @property
    def has_quota(self) -> bool:
        """A volume made now cannot grow past its size."""
        return self._disks is not None

    # For the engine, whose threads call it.

    def prepare(self, mounts: list[VolumeMount]) -> Mapping[str, str]:
        """Each volume's folder, made or mounted first where that is needed."""
        return {mount.volume_id: str(self._prepared(mount)) for mount in mounts}

    def reserved_mib(self) -> int:
        """Of the disk: promised to volumes and not used by them yet."""
        return sum(max(one.size_mib - self._taken_mib(one), 0) for one in self._all())

    # For the core.

    def breaches(self, work: Work) -> str:
        """Why work must end for what it keeps in its volumes; empty while it need not."""
        for volume_id in sorted(work.volumes):
            volume = self._volume(volume_id)
            used = self._used.get(volume_id, 0)
            if volume is None or volume.image.exists():
                continue
            if used > volume.size_mib * (1 + SLACK_SHARE) + SLACK_MIB:
                size = volume.size_mib
                return f"Volume {volume_id} holds {used:,} MiB, and its size is {size:,} MiB."
        return ""

    # For the beat.

    def tell(self, beat: Beat) -> None:
        found = [VolumeSeen(one, used) for one, used in sorted(self._used.items())]
        beat.volumes = [*beat.volumes, *found][:TOLD_MAX]

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        """Mark what the brain wants gone: the mark outlives this agent."""
        if answer.desired is None:
            return
        for volume_id in answer.desired.drop_volumes:
            volume = self._volume(volume_id)
            if volume is not None:
                volume.drop_mark.touch(mode=0o600)
                self._bell.ring()

    async def run(self) -> None:
        while True:
            try:
                await self._round()
            except (EngineAway, OSError) as trouble:
                log.warning("volumes_not_seen", reason=str(trouble))
            waits = any(volume.drop_mark.exists() for volume in self._all())
            await self._bell.wait(DROP_SECONDS if waits else ROUND_SECONDS)

    async def _round(self) -> None:
        dropped = [volume for volume in self._all() if volume.drop_mark.exists()]
        if dropped and self._engine is not None:
            works = await self._engine.look()
            busy = {volume_id for work in works for volume_id in work.volumes}
            for volume in dropped:
                if volume.volume_id not in busy:
                    await asyncio.to_thread(self._drop, volume)
        self._used = await asyncio.to_thread(self._measured)

    def _prepared(self, mount: VolumeMount) -> Path:
        if not _ID.fullmatch(mount.volume_id) or mount.size_gib < 1:
            raise StartRefused(f"{mount.volume_id!r} of {mount.size_gib} GiB is no volume.")
        home = self._home / mount.volume_id
        volume = Volume(mount.volume_id, home, mount.size_gib * GIB_MIB)
        if volume.drop_mark.exists():
            raise StartRefused(f"Volume {volume.volume_id} is being removed.")
        try:
            if not (home / "size").exists():
                self._make(volume)
            self._fit(volume)
            return self._opened(volume)
        except (OSError, DiskTrouble) as trouble:
            raise StartFailed(f"Volume {volume.volume_id} cannot be used: {trouble}") from trouble

    def _make(self, volume: Volume) -> None:
        free = shutil.disk_usage(self._home.parent).free // MIB - self.reserved_mib()
        if free < volume.size_mib:
            raise DiskTrouble(
                f"its size is {volume.size_mib:,} MiB, and the host has {max(free, 0):,} MiB that"
                " are not promised."
            )
        volume.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._disks is not None:
            self._disks.make(volume.image, volume.size_mib)
        (volume.home / "size").write_text(str(volume.size_mib))
        log.info("volume_made", volume_id=volume.volume_id, own_file_system=volume.image.exists())

    def _fit(self, volume: Volume) -> None:
        """A volume may grow; it never shrinks below what it was."""
        before = int((volume.home / "size").read_text())
        if volume.size_mib <= before:
            return
        if volume.image.exists() and self._disks is not None:
            self._disks.grow(volume.image, volume.mount_point, volume.size_mib)
        (volume.home / "size").write_text(str(volume.size_mib))

    def _opened(self, volume: Volume) -> Path:
        if volume.image.exists():
            if self._disks is None:
                raise DiskTrouble("it has a file system of its own, and the agent is not root.")
            self._disks.mount(volume.image, volume.mount_point)
        if not volume.data.exists():
            volume.data.mkdir(mode=0o777)
            volume.data.chmod(0o777)  # any user of the image may write in it
        self._used.setdefault(volume.volume_id, 0)
        return volume.data

    def _drop(self, volume: Volume) -> None:
        try:
            if self._disks is not None:
                self._disks.unmount(volume.mount_point)
        except DiskTrouble as trouble:
            log.warning("volume_not_dropped", volume_id=volume.volume_id, reason=str(trouble))
            return
        if volume.mount_point.is_mount():
            return
        shutil.rmtree(volume.home)
        log.info("volume_dropped", volume_id=volume.volume_id)

    def _measured(self) -> dict[str, int]:
        return {volume.volume_id: self._used_mib(volume) for volume in self._all()}

    def _used_mib(self, volume: Volume) -> int:
        if not volume.image.exists():
            return folder_mib(volume.data)
        if volume.mount_point.is_mount():
            return shutil.disk_usage(volume.mount_point).used // MIB
        return self._used.get(volume.volume_id, _allocated_mib(volume.image))

    def _taken_mib(self, volume: Volume) -> int:
        if volume.image.exists():
            return _allocated_mib(volume.image)
        return self._used.get(volume.volume_id, 0)

    def _all(self) -> Iterable[Volume]:
        if not self._home.is_dir():
            return []
        found = (self._volume(path.name) for path in sorted(self._home.iterdir()))
        return [volume for volume in found if volume is not None]

    def _volume(self, volume_id: str) -> Volume | None:
        if not _ID.fullmatch(volume_id):
            return None
        size = self._home / volume_id / "size"
        try:
            return Volume(volume_id, size.parent, int(size.read_text()))
        except (OSError, ValueError):
            return None


def _allocated_mib(image: Path) -> int:
    return image.stat().st_blocks * 512 // MIB
