"""Who sends a request, as far as limits of addresses go; asked only where there are some."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from inference.limits.book import Limits
from kernel.errors import BadInput, GanglionError, LimitReached

Networks = Sequence[IPv4Network | IPv6Network]


def networks(text: str) -> Networks:
    """Addresses and networks with commas between. Raises ``BadInput``."""
    try:
        return [ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise BadInput(f"GATEWAY_TRUSTED_PROXIES: {error}.") from None


def sender(transport: asyncio.BaseTransport | None, forwarded: bytes, trusted: Networks) -> str:
    """The address that counts: an IPv4 address, or an IPv6 /64, as one line has all of it.

    Where the peer is a trusted proxy, what it says in ``X-Forwarded-For``: the last address there
    that is no proxy itself.
    """
    peer = transport.get_extra_info("peername") if transport is not None else None
    found = _parsed(str(peer[0]) if isinstance(peer, tuple) else "")
    if forwarded and found is not None and _among(found, trusted):
        for part in reversed(forwarded.decode("latin-1").split(",")):
            named = _parsed(part.strip())
            if named is None:
                break
            found = named
            if not _among(named, trusted):
                break
    if isinstance(found, IPv6Address):
        return IPv6Address(int(found)).exploded[:19]  # without the name of an interface
    return "local" if found is None else str(found)


def refusal(limits: Limits, address: str, error: GanglionError) -> GanglionError:
    """What a request with a refused key is answered: ``error``, or that there are too many."""
    try:
        limits.failed(address)
    except LimitReached as reached:
        return reached
    return error


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _among(address: IPv4Address | IPv6Address, trusted: Networks) -> bool:
    return any(address in network for network in trusted)
