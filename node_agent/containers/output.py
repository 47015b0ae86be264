"""What a container prints, brought from Docker's log into the lease's file, each line once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from docker.errors import NotFound

from node_agent.containers.client import Client
from node_agent.engine import log_path
from node_agent.files import read_if_there, write_private

LOG_BYTES_A_CALL_MAX = 4 << 20


def collect(api: Client, home: Path, lease_id: str, ref: str) -> None:
    """Append what was printed since the last call. A container that is gone adds nothing."""
    mark_file = home / lease_id / "docker-log.json"
    marks: dict[str, str] = msgspec.json.decode(read_if_there(mark_file) or b"{}")
    try:
        block, newest = _printed_after(api, ref, marks.get(ref, ""))
    except NotFound:
        return
    if not block:
        return
    path = log_path(home, lease_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("ab") as file:
        file.write(block)
    write_private(mark_file, msgspec.json.encode({ref: newest}))


def _printed_after(api: Client, ref: str, last: str) -> tuple[bytes, str]:
    """Lines with a time stamp after ``last`` (RFC 3339 with nine digits, so text compares)."""
    block, newest = bytearray(), last
    since = _seconds_of(last)
    rest = b""
    for piece in api.logs(ref, stream=True, follow=False, timestamps=True, since=since):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            stamp, _, text = line.partition(b" ")
            at = stamp.decode("ascii", errors="replace")
            if at > last:
                block += text + b"\n"
                newest = max(newest, at)
        if len(block) > LOG_BYTES_A_CALL_MAX:
            break
    return bytes(block), newest


def _seconds_of(stamp: str) -> float | None:
    if not stamp:
        return None
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole + "+00:00").timestamp()
    # A microsecond less: a double cannot hold nine digits after the point.
    return seconds + float(f"0.{fraction or '0'}") - 1e-6
