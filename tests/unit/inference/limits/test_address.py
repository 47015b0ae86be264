"""Whose request it is, for limits of addresses: nobody can name himself another one."""

from __future__ import annotations

import asyncio

import pytest

from inference.limits.address import networks, sender
from kernel.errors import BadInput

pytestmark = pytest.mark.feature("A14")


def transport(peer: str) -> asyncio.BaseTransport:
    return asyncio.BaseTransport({"peername": (peer, 4711)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.7", b"", "192.0.2.7"),
        ("192.0.2.7", b"198.51.100.1", "192.0.2.7"),  # no proxy of ours says so
        ("10.0.0.5", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", b"203.0.113.9, 198.51.100.1", "198.51.100.1"),  # the first is its own word
        ("10.0.0.5", b",198.51.100.1, 10.0.0.9", "198.51.100.1"),  # two proxies
        ("10.0.0.5", b"198.51.100.1, nonsense", "10.0.0.5"),
        ("::ffff:192.0.2.7", b"", "192.0.2.7"),
        ("2001:db8:1:2:3::4", b"", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", b"", "fe80:0000:0000:0000"),
    ],
)
def test_who_sent_it(peer: str, forwarded: bytes, found: str) -> None:
    assert sender(transport(peer), forwarded, networks("10.0.0.0/24, 172.16.0.1")) == found


def test_a_connection_without_an_address_is_local() -> None:
    assert sender(None, b"", ()) == "local"


def test_what_is_no_network_is_refused_at_the_start() -> None:
    with pytest.raises(BadInput, match="GATEWAY_TRUSTED_PROXIES"):
        networks("proxy.example.com")
