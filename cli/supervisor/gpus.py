"""How many GPUs NVML shows here, asked so that a hung driver cannot hang the start."""

from __future__ import annotations

import asyncio
import ctypes
import sys

from cli.embedded import child

SECONDS_MAX = 10.0
SIMULATED = 4
COUNT = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"


async def real_gpus() -> int:
    """0 where there is no driver, no GPU, or no answer in time."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    process = await child.spawn([sys.executable, "-P", "-c", COUNT], output=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    except TimeoutError:
        await child.stop(process, ())
        return 0
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    return int(last[0]) if process.returncode == 0 and last and last[0].isdigit() else 0
