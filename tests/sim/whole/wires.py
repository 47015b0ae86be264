"""The wire between one process of the brain and one emulated cloud, with its bad moments."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

import httpx

from standins.clouds.asgi import App
from tests.sim.whole.process import Process

_ID = re.compile(r"\d{3}|[a-z0-9]{14}|-")
SLOW_SECONDS = (1.0, 20.0)


class Body(httpx.AsyncByteStream):
    """A body that the client reads as from a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def _told(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}"
) -> httpx.Response:
    said = {"content-type": "application/json", **(headers or {})}
    return httpx.Response(status, headers=said, stream=Body(body))


class Wire(httpx.AsyncBaseTransport):
    """Calls go through in turns. The process may die before or after the work is done there."""

    def __init__(self, process: Process, app: App, cloud: str) -> None:
        self._process = process
        self._through = httpx.ASGITransport(app)
        self._cloud = cloud

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        own, ground = self._process, self._process.ground
        own.check()
        await self._dawdle()
        await ground.turns.take(own)
        try:
            own.check()
            own.may_die("before a call", f"before {self._what(request)}")
            return await self._pass(request)
        finally:
            ground.turns.give()
            own.check()

    async def _pass(self, request: httpx.Request) -> httpx.Response:
        faults = self._process.ground.faults
        what = self._what(request)
        if faults.strikes("call_throttled"):
            self._process.note(f"{what}: 429")
            headers = {"retry-after": "3"} if faults.strikes("call_tells_when") else {}
            return _told(429, headers)
        if faults.strikes("call_broken"):
            self._process.note(f"{what}: 503, nothing was done")
            return _told(503)
        if faults.strikes("call_timed_out"):
            self._process.note(f"{what}: no answer, nothing was done")
            raise httpx.ReadTimeout("nothing came", request=request)
        response = await self._through.handle_async_request(request)
        body = await response.aread()
        if faults.strikes("call_done_answer_lost"):
            self._process.note(f"{what}: done, the answer is lost")
            raise httpx.ReadTimeout("the answer was lost", request=request)
        if faults.strikes("call_done_then_broken"):
            self._process.note(f"{what}: done, and answered with 502")
            return _told(502)
        self._process.may_die("after a call", f"after {what}")
        if request.method != "GET" and not what.endswith("/bundles/"):  # which is a search
            self._process.note(f"{what}: {response.status_code}")
        return _told(response.status_code, dict(response.headers), body)

    async def _dawdle(self) -> None:
        """A slow network: the call is on its way while others go on."""
        ground = self._process.ground
        if ground.faults.strikes("call_slow"):
            await ground.clock.sleep(ground.chance.uniform(*SLOW_SECONDS))
            self._process.check()

    def _what(self, request: httpx.Request) -> str:
        """The call without ids: the same name for the same kind of call."""
        path = "/".join("*" if _ID.search(part) else part for part in request.url.path.split("/"))
        return f"{self._cloud} {request.method} {path}"
