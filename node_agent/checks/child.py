"""The process that does a check's work: JSON lines in, JSON lines out, limits on itself.

``python -m node_agent.checks.child cpu`` on the host, ``... cuda`` inside the worker image.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from typing import Any

from node_agent.checks.work import Kernel, NoGpu, NoRoom, Work

CPU_BYTES_MAX = 64 << 20  # of a twin's memory
CPU_ROOM_BYTES = 512 << 20  # of the whole process
NICE = 10


def kernel_of(name: str) -> Kernel:
    if name == "cuda":
        from node_agent.checks.cuda import CudaKernel

        return CudaKernel()
    from node_agent.checks.cpu import CpuKernel

    return CpuKernel(CPU_BYTES_MAX)


def answer(work: Work | None, line: dict[str, Any], name: str) -> tuple[Work | None, Any]:
    """Do what one line asks. A refusal is an answer, with its reason."""
    try:
        if line["do"] == "work":
            work = Work(kernel_of(name), line, time.monotonic_ns)
            return work, work.commit()
        assert work is not None, "the first line is the work"
        if line["do"] == "recall":
            return work, work.recall(line["key"])
        return work, work.open(line["sample"])
    except NoRoom as problem:
        return work, {"refusal": "no_room", "reason": str(problem)[:400]}
    except NoGpu as problem:
        return work, {"refusal": "no_gpu", "reason": str(problem)[:400]}
    except Exception as problem:  # said to the brain, which judges
        return work, {"refusal": "failed", "reason": f"{type(problem).__name__}: {problem}"[:400]}


def limit(name: str, seconds_max: int) -> None:
    """This process's own limits: it must not outlive or outgrow its check."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds_max, seconds_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if name == "cpu":
        resource.setrlimit(resource.RLIMIT_AS, (CPU_ROOM_BYTES, CPU_ROOM_BYTES))
    with contextlib.suppress(OSError):
        os.nice(NICE)


def main() -> None:
    name = sys.argv[1]
    limit(name, int(sys.argv[2]))
    work: Work | None = None
    for line in sys.stdin:
        work, told = answer(work, json.loads(line), name)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
