"""The wire between one process of the brain and one emulated cloud, with its bad moments."""

from __future__ import annotations

import re

import httpx

from standins.clouds.asgi import App
from tests.sim.whole.process import Process

_ID = re.compile(r"\d{3}|[a-z0-9]{14}|-")
SLOW_SECONDS = (1.0, 20.0)


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
            return httpx.Response(429, headers=headers, json={}, request=request)
        if faults.strikes("call_broken"):
            self._process.note(f"{what}: 503, nothing was done")
            return httpx.Response(503, json={}, request=request)
        if faults.strikes("call_timed_out"):
            self._process.note(f"{what}: no answer, nothing was done")
            raise httpx.ReadTimeout("nothing came", request=request)
        response = await self._through.handle_async_request(request)
        await response.aread()
        if faults.strikes("call_done_answer_lost"):
            self._process.note(f"{what}: done, the answer is lost")
            raise httpx.ReadTimeout("the answer was lost", request=request)
        if faults.strikes("call_done_then_broken"):
            self._process.note(f"{what}: done, and answered with 502")
            return httpx.Response(502, json={}, request=request)
        self._process.may_die("after a call", f"after {what}")
        if request.method != "GET" and response.status_code < 300:
            self._process.note(f"{what}: {response.status_code}")
        return response

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
