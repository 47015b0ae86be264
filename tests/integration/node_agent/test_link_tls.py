"""Links over TLS: to a gateway that ends it itself, and through the way out that a host has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kernel.wire import links as wire
from node_agent.link_dial import Dialler, LinkRefused
from tests.support.certificates import Certificate, certificate_in
from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.link_ends import BOOT, LEASE, link_ends
from tests.support.link_ends import KEY as LINK_KEY
from tests.support.links import link_address, linked, linked_lease, node_links, tables_of
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import Script, chunk, scripted_worker, stream_head
from tests.support.wait import until
from tests.unit.inference import sse

SCRIPT: Script = [stream_head(), chunk(sse.HELLO), chunk(sse.STOP + sse.DONE), chunk(b"")]
LEASE_ROW = linked_lease([], port=8000)
LINK = wire.LinkRequest(LEASE, 1, 80, BOOT, 1)


@dataclass
class Proxy:
    """A host's way out: takes CONNECT, and nothing else."""

    port: int = 0
    refuses: bool = False
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        if self.refuses:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        host, port = head.split(b" ")[1].rsplit(b":", 1)
        back, out = await asyncio.open_connection(host.decode(), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, out), _copy(back, writer))


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(65536):
            to.write(part)
            await to.drain()
    except ConnectionError:
        pass
    to.close()


@asynccontextmanager
async def proxy_at(
    monkeypatch: pytest.MonkeyPatch, *, refuses: bool = False
) -> AsyncIterator[Proxy]:
    proxy = Proxy(refuses=refuses)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%20word@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    yield proxy
    server.close()


@pytest.fixture
def tls(tmp_path: Path) -> Certificate:
    return certificate_in(tmp_path)


def secure_gateway(start: StartGateway, tls: Certificate) -> Gateway:
    return start(
        tables_of(linked(LEASE_ROW, upstream_model="")),
        gateway_link_port=0,
        gateway_link_certificate=tls.certificate,
        gateway_link_certificate_key=tls.key,
    )


@pytest.mark.feature("C2")
async def test_a_worker_is_reached_over_tls(start_gateway: StartGateway, tls: Certificate) -> None:
    gateway = secure_gateway(start_gateway, tls)
    address = link_address(gateway)
    assert address.url.startswith("https://")
    async with scripted_worker(SCRIPT) as worker:
        dialler = Dialler(tls.trusted)
        async with node_links([address], (LEASE_ROW, worker.port), dialler=dialler):
            await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= 4, 20)
            async with connect(gateway.port) as raw:
                await raw.send(request(b'{"model":"m","stream":true}', key=KEY))
                assert b"[DONE]" in (await raw.answer()).body
                await raw.send(request(b'{"model":"m","stream":true}', key=KEY))
                assert b"[DONE]" in (await raw.answer()).body


async def test_a_certificate_that_nobody_vouches_for_is_not_spoken_to(tls: Certificate) -> None:
    terms: dict[str, Any] = {"certificate": tls.certificate, "certificate_key": tls.key}
    async with link_ends(**terms) as ends:
        with pytest.raises(LinkRefused) as refused:
            await Dialler().open(ends.listener.url, LINK, LINK_KEY)
        assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.internal)
        assert ends.gauge("links") == 0


@pytest.mark.feature("C2")
async def test_links_go_through_the_proxy_that_the_host_names(
    tls: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms: dict[str, Any] = {"certificate": tls.certificate, "certificate_key": tls.key}
    async with proxy_at(monkeypatch) as proxy, link_ends(**terms) as ends:
        link, said = await Dialler(tls.trusted).open(ends.listener.url, LINK, LINK_KEY)
        assert said == b""
        assert proxy.asked[0].startswith(b"CONNECT 127.0.0.1:")
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=" in proxy.asked[0]
        far = await ends.listener.open(LEASE, 1, 80, 5)
        heard = asyncio.StreamReader()
        link.set_protocol(asyncio.StreamReaderProtocol(heard))
        link.resume_reading()
        far.write(b"through")
        assert await asyncio.wait_for(heard.readexactly(7), 10) == b"through"
        link.abort()


async def test_a_proxy_that_refuses_is_a_refused_link(
    tls: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy_at(monkeypatch, refuses=True):
        with pytest.raises(LinkRefused) as refused:
            await Dialler(tls.trusted).open("https://gateway.example:443", LINK, LINK_KEY)
    assert "proxy refused" in str(refused.value.internal)
    assert "pass" not in str(refused.value.internal)


async def test_a_host_that_needs_no_proxy_is_reached_without(
    tls: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms: dict[str, Any] = {"certificate": tls.certificate, "certificate_key": tls.key}
    async with proxy_at(monkeypatch) as proxy, link_ends(**terms) as ends:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        link, _ = await Dialler(tls.trusted).open(ends.listener.url, LINK, LINK_KEY)
        link.abort()
        assert proxy.asked == []
