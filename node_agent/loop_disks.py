"""File systems in files: ext4 of a fixed size, mounted through a loop device. Needs root.

The tools are the system's own (e2fsprogs, util-linux); each call has its limit.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

MIB = 1 << 20
TOOL_SECONDS_MAX = 300
WORDS_MAX = 300
TOOLS = ("mkfs.ext4", "mount", "umount", "e2fsck", "resize2fs")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OPTIONS = "loop,nodev,nosuid"
DOCKER_HOST = "unix:///var/run/docker.sock"
CONNECT_SECONDS_MAX = 5.0
FREE_SECONDS_MAX, FREE_AGAIN_SECONDS = 15.0, 0.1
_PEER = (socket.SOL_SOCKET, socket.SO_PEERCRED)


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

    def grow(self, image: Path, point: Path, size_mib: int) -> None:
        """To a larger size, while nothing uses it.

        A container that is just gone may hold its mount a moment longer than we hold ours, and the
        file must not change under a file system that lives.
        """
        self.unmount(point)
        free = Retrying(
            retry=retry_if_exception_type(DiskTrouble),
            wait=wait_fixed(FREE_AGAIN_SECONDS),
            stop=stop_after_delay(FREE_SECONDS_MAX),
            reraise=True,
        )
        free(_must_be_free, image)
        with image.open("r+b") as file:
            file.truncate(size_mib * MIB)
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


def disks_here(docker_host: str | None) -> Disks | None:
    """None where this host or user cannot, or where Docker would not see the agent's mounts."""
    tools = all(shutil.which(tool, path=SYSTEM_PATH) for tool in TOOLS)
    can = os.geteuid() == 0 and tools and Path("/dev/loop-control").exists()
    return Disks() if can and _sees_our_mounts(docker_host or DOCKER_HOST) else None


def _must_be_free(image: Path) -> None:
    """Raises ``DiskTrouble`` while a loop device still stands on the file."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            held = backing.read_text().rstrip("\n") == str(image.resolve())
        except OSError:
            continue  # it went while we looked
        if held:
            raise DiskTrouble("it is still mounted by a container that is going.")


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


def _sees_our_mounts(docker_host: str) -> bool:
    """Whether what this process mounts is there for the process behind Docker's socket: a
    sandboxed service, or an agent in a container, has mounts of its own."""
    url = urlsplit(docker_host)
    if url.scheme != "unix":
        return False
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(CONNECT_SECONDS_MAX)
            client.connect(url.path)
            pid, _, _ = struct.unpack("3i", client.getsockopt(*_PEER, struct.calcsize("3i")))
        return os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt")
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
