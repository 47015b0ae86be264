"""Bodies in chunks, read without a parser where nothing about their framing is unusual. Pure.

A worker's stream begins with a head that tells as much as the last one's did, and each read brings
whole chunks. What is framed in any other way is left to the parser.
"""

from __future__ import annotations

from inference.alike import HEAD_BYTES_MAX

LAST_CHUNK = b"0\r\n\r\n"
SIZE_MAX = 4096  # more is left to the parser
_digits = tuple(b"%x" % size for size in range(SIZE_MAX)).__getitem__  # as servers write them
_STATUS = b"http/1.1 200 "
_CHUNKED = b"transfer-encoding: chunked"
# What would make the framing, or the end of the connection, another one.
_UNUSUAL = (b"content-length:", b"connection:", b"transfer-encoding:", b"trailer:", b"upgrade:")
_KEPT = (_CHUNKED, b"connection: keep-alive")


def unframed(received: bytes) -> tuple[bytes, bool] | None:
    """What whole chunks hold, and whether the last of them is among them; else ``None``."""
    pieces = received.split(b"\r\n")
    parts = pieces[1::2]
    if pieces.pop() or len(pieces) % 2 or len(received) >= SIZE_MAX:
        return None
    if pieces[::2] != list(map(_digits, map(len, parts))):
        return None
    over = not parts[-1] if parts else False
    return (b"".join(parts), over) if parts.count(b"") == over else None


def head_of(received: bytes) -> bytes:
    """The head that ``received`` begins with, where it is that of a success in chunks over a
    connection that is kept, and nothing else; else nothing."""
    end = received.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
    lines = received[:end].lower().split(b"\r\n") if end > 0 else [b""]
    if not lines[0].startswith(_STATUS) or lines.count(_CHUNKED) != 1:
        return b""
    if any(line.startswith(_UNUSUAL) and line not in _KEPT for line in lines):
        return b""
    return received[: end + 4]
