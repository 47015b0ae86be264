"""File systems in files, on a real kernel: a file does not change under one that lives."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from node_agent.loop_disks import Disks, disks_here
from tests.support.wait import until


@pytest.fixture
def disks(dockerd: str) -> Disks:
    found = disks_here(dockerd)
    if found is None:
        pytest.skip("file systems in files need root and loop devices")
    return found


@pytest.mark.feature("E3")
async def test_it_grows_once_the_last_who_has_it_mounted_is_gone(
    disks: Disks, tmp_path: Path
) -> None:
    image, point = tmp_path / "image", tmp_path / "point"
    disks.make(image, 64)
    disks.mount(image, point)
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo; exec sleep 60"], stdout=-1)
    try:
        assert holder.stdout is not None
        holder.stdout.read(1)  # it has mounts of its own, this one among them
        growing = asyncio.create_task(asyncio.to_thread(disks.grow, image, point, 256))
        await until(lambda: not point.is_mount())
        assert not growing.done()
    finally:
        holder.kill()
        holder.wait()
    await growing
    disks.mount(image, point)
    assert shutil.disk_usage(point).total > 200 << 20
    disks.unmount(point)
