"""Which addresses are of this host."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_local(url: str) -> bool:
    """Whether the address is on this host."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
