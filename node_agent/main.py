"""The agent's own entry: ``python -m node_agent.main`` or ``ganglion agent``."""

from __future__ import annotations

import ctypes
import sys
import warnings
from contextlib import suppress

# httpx and structlog load these for colours, a command line and green threads, requests to guess
# the encoding of pages: a daemon that speaks JSON needs none, and they are a sixth of its memory.
NOT_FOR_A_DAEMON = ("rich", "click", "greenlet", "charset_normalizer", "chardet")
ARENA_MAX = -8  # glibc's M_ARENA_MAX: threads that wait for Docker share one heap


def main(arguments: list[str] | None = None) -> int:
    """Runs the agent until it is told to stop; the exit code."""
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    for name in NOT_FOR_A_DAEMON:
        modules.setdefault(name, None)  # an import of it fails, as if it were not installed
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
    with suppress(OSError, AttributeError):  # another C library has no such thing
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)
    from node_agent.daemon import serve

    return serve(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
