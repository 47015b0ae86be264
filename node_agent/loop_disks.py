"""File systems in files: ext4 of a fixed size, mounted through a loop device. Needs root.

The tools are the system's own (e2fsprogs, util-linux); each call has its limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20
TOOL_SECONDS_MAX = 300
WORDS_MAX = 300
TOOLS = ("mkfs.ext4", "mount", "umount", "losetup", "resize2fs")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OPTIONS = "loop,nodev,nosuid"


class DiskTrouble(Exception):
    """The host could not do what a volume needs; its words say why."""


class Disks:
    """Made by :func:`disks_here`, where the host can."""

    def make(self, image: Path, size_mib: int) -> None:
        """A new file system. Its file is sparse: space is taken as it is used."""
        draft = image.with_name(image.name + ".draft")
        with draft.open("wb") as file:
            file.truncate(size_mib * MIB)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(draft))
        draft.rename(image)

    def grow(self, image: Path, size_mib: int) -> None:
        """To a larger size, mounted or not."""
        with image.open("r+b") as file:
            file.truncate(size_mib * MIB)
        device = _run("losetup", "-n", "-O", "NAME", "-j", str(image)).split()
        if device:
            _run("losetup", "-c", device[0])
            _run("resize2fs", device[0])
            return
        _run("e2fsck", "-f", "-p", str(image), fine=(0, 1))
        _run("resize2fs", str(image))

    def mount(self, image: Path, point: Path) -> None:
        """Where it is not mounted yet."""
        point.mkdir(exist_ok=True, mode=0o700)
        if not point.is_mount():
            _run("mount", "-o", OPTIONS, str(image), str(point))

    def unmount(self, point: Path) -> None:
        if point.is_mount():
            _run("umount", str(point))


def disks_here() -> Disks | None:
    """None where this host or user cannot, or where Docker would not see the agent's mounts."""
    tools = all(shutil.which(tool, path=SYSTEM_PATH) for tool in TOOLS)
    can = os.geteuid() == 0 and tools and Path("/dev/loop-control").exists()
    return Disks() if can and _hosts_mounts() else None


def folder_mib(folder: Path) -> int:
    """What a folder takes on the disk, its links not followed. Walks all of it."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue  # it went while we walked
    return total // MIB


def _hosts_mounts() -> bool:
    """Whether what this process mounts is seen by the host's other processes, Docker among them."""
    try:
        return os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt")
    except OSError:
        return False


def _run(tool: str, *arguments: str, fine: tuple[int, ...] = (0,)) -> str:
    environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [tool, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DiskTrouble(f"{tool} took more than {TOOL_SECONDS_MAX} s.") from None
    except OSError as error:
        raise DiskTrouble(f"{tool} cannot be run: {error.strerror}.") from None
    if done.returncode not in fine:
        raise DiskTrouble(f"{tool} failed: {done.stderr.strip()[:WORDS_MAX]}")
    return done.stdout
