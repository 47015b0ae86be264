"""The agent's own entry: ``python -m node_agent.main`` or ``ganglion agent``."""

from __future__ import annotations

import sys

# httpx and structlog load these for colours and a command line where they are installed.
# A daemon shows neither, and they are a tenth of its memory.
NOT_FOR_A_DAEMON = ("rich", "click")


def main(arguments: list[str] | None = None) -> int:
    """Runs the agent until it is told to stop; the exit code."""
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    for name in NOT_FOR_A_DAEMON:
        modules.setdefault(name, None)  # an import of it fails, as if it were not installed
    from node_agent.daemon import serve

    return serve(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
