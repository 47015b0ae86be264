"""What a worker began, a line a request, for those who compare it with the books later."""

from __future__ import annotations

import os


class Journal:
    """A file that several workers may add to. A line is there as soon as the request has begun,
    and stays when the process is killed in the next moment.
    """

    def __init__(self, file: str) -> None:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(file, flags, 0o600)

    def began(self, request_id: str, parent: str = "") -> None:
        """``parent``: its ``traceparent``, if it has one; of it the trace is noted."""
        if request_id:
            trace = parent[3:35]
            line = f"{request_id[:200]} {trace}".rstrip()
            os.write(self._file, line.encode() + b"\n")
