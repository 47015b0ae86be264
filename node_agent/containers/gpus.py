"""Pure: whether a container still sees the GPUs that it was given.

Some reloads of the host's system manager take the devices out of a running container's control
group: NVML on the host sees nothing of it, and every CUDA call inside fails.
"""

from __future__ import annotations

NO_PROGRAM = (126, 127)  # the image has no nvidia-smi: nothing can be said
WORDS_MAX = 300


def trouble(wanted: set[str], code: int | None, shown: str) -> str:
    """Why the container does not see its GPUs, from what ``nvidia-smi -L`` said inside it."""
    if code is None or code in NO_PROGRAM:
        return ""
    missing = sorted(uuid for uuid in wanted if uuid not in shown)
    if code == 0 and not missing:
        return ""
    said = " ".join(shown.split())[:WORDS_MAX]
    if code != 0:
        return f"Its container lost its GPUs; nvidia-smi there says: {said or f'code {code}'}"
    return f"Its container lost GPU {missing[0]}; nvidia-smi there shows: {said or 'none'}"
