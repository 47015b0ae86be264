"""Which pod and port a Host header names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.pods.names import Address, find
from kernel.errors import BadInput, Malformed, NotFound

pytestmark = pytest.mark.feature("E3")
DOMAIN = "pods.example.com"
SLUG = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?\Z", fullmatch=True)
PORT = st.integers(1, 65535)


@given(SLUG, PORT, st.sampled_from(["", ":80", ":8081", "."]), st.booleans())
def test_what_is_written_is_found(slug: str, port: int, tail: str, upper: bool) -> None:
    host = f"{slug}-{port}.{DOMAIN}{tail}"
    found = find((host.upper() if upper else host).encode(), DOMAIN)
    assert found == Address(slug, port)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_address_a_refusal_or_not_ours(host: bytes) -> None:
    try:
        found = find(host, DOMAIN)
    except (BadInput, NotFound):
        return
    assert found is None or 1 <= found.port <= 65535


@pytest.mark.parametrize(
    "host", [b"localhost:8081", b"127.0.0.1", b"[::1]:8081", b"example.com", b"a-1.example.com"]
)
def test_other_names_are_the_fronts_own(host: bytes) -> None:
    assert find(host, DOMAIN) is None


@pytest.mark.parametrize(
    "label",
    ["pod", "pod-", "-80", "pod-0", "pod-080", "pod-65536", "pod-99999", "a.b-80", "p_d-80"],
)
def test_names_of_ours_without_the_form_are_not_found(label: str) -> None:
    with pytest.raises(NotFound, match="<pod>-<port>"):
        find(f"{label}.{DOMAIN}".encode(), DOMAIN)


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"a@b", b"a:", b"a:b", b"a:123456", b"a\x00", b"\xc3\xa4", b"a" * 256],
)
def test_what_is_no_host_is_malformed(host: bytes) -> None:
    with pytest.raises(Malformed):
        find(host, DOMAIN)
