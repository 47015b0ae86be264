"""A form with a sound in it, as the route of transcriptions takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def form(fields: Mapping[str, str], sound: bytes, boundary: str) -> bytes:
    """The whole body. Its first line tells its boundary."""
    line = b"--" + boundary.encode()
    parts: list[bytes] = []
    for name, value in fields.items():
        head = f'content-disposition: form-data; name="{name}"\r\n\r\n'
        parts += (line, b"\r\n", head.encode(), value.encode(), b"\r\n")
    parts += (
        line,
        b'\r\ncontent-disposition: form-data; name="file"; filename="speech.wav"\r\n',
        b"content-type: audio/wav\r\n\r\n",
        sound,
        b"\r\n",
        line,
        b"--\r\n",
    )
    return b"".join(parts)
