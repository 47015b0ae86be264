"""Rates per address, per user and per API key, kept in Valkey; without it requests pass.

GCRA: one number a caller, the time at which its quota is whole again, moved by a script in one
round trip. A burst of a second's (for keys: a minute's) quota is let through, then the rate.
Numbers are kept a minute longer than they matter, because the clocks of processes differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kernel.clock import NS, Clock
from kernel.errors import LimitReached

# After a failure Valkey is left alone so long: a hanging one must not slow every request.
REST_SECONDS: Final = 5
AUTH_PATHS: Final = "/auth/"
API_PATHS: Final = "/api/"

_GCRA: Final = """
local now, interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = whole - tolerance - now
if wait > 0 then return wait end
whole = whole + interval
local kept = math.ceil((whole - now) / 1000) + 60000
redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', kept)
return 0
"""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Rate:
    """``count`` requests in ``seconds``, all of which may come at once."""

    count: int
    seconds: int

    @property
    def interval_us(self) -> int:
        return max(1, self.seconds * 1_000_000 // self.count)

    @property
    def tolerance_us(self) -> int:
        return self.interval_us * (self.count - 1)


@dataclass(frozen=True)
class Rates:
    """``auth`` and ``api`` per address, ``api`` per user or key, ``key`` per API key besides."""

    auth: Rate
    api: Rate
    key: Rate


class Limits:
    """Asked once for each request's address, and once for who it comes from."""

    def __init__(self, valkey: Redis, clock: Clock, rates: Rates) -> None:
        self._valkey = valkey
        self._clock = clock
        self._rates = rates
        self._script = valkey.register_script(_GCRA)
        self._rest_until_ns = clock.monotonic_ns()

    async def from_address(self, path: str, address: str) -> None:
        """``LimitReached`` when this address asks too fast. Other paths have no limit here."""
        if path.startswith(AUTH_PATHS):
            await self._take(f"auth:{address}", self._rates.auth, "log-in calls")
        elif path.startswith(API_PATHS):
            await self._take(f"api:{address}", self._rates.api, "calls from this address")

    async def from_user(self, user_id: str) -> None:
        await self._take(user_id, self._rates.api, "calls of this user")

    async def from_key(self, key_id: str) -> None:
        await self._take(key_id, self._rates.api, "calls of this API key")
        await self._take(f"{key_id}:slow", self._rates.key, "calls of this API key")

    async def _take(self, caller: str, rate: Rate, what: str) -> None:
        wait_us = await self._wait_us(caller, rate)
        if wait_us > 0:
            raise LimitReached(
                f"At most {rate.count} {what} in {rate.seconds} s; wait as Retry-After says.",
                retry_after=-(-wait_us // 1_000_000),
            )

    async def _wait_us(self, caller: str, rate: Rate) -> int:
        if self._clock.monotonic_ns() < self._rest_until_ns:
            return 0
        now_us = self._clock.now_ns() // 1000
        try:
            return int(
                await self._script(
                    keys=[f"ganglion:limit:{caller}"],
                    args=[now_us, rate.interval_us, rate.tolerance_us],
                )
            )
        except (RedisError, OSError) as failure:
            self._rest_until_ns = self._clock.monotonic_ns() + REST_SECONDS * NS
            _log.warning("limits_off", seconds=REST_SECONDS, failure=type(failure).__name__)
            return 0


def get_limits(request: Request) -> Limits:
    limits: Limits = request.app.state.limits
    return limits


class AddressLimits:
    """Middleware that asks ``Limits`` before anything else looks at the request."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            await self.limits.from_address(scope["path"], bucket(client[0] if client else ""))
        await self.app(scope, receive, send)


def bucket(address: str) -> str:
    """What counts as one address: an IPv4 address, an IPv6 /64 (one line has all of it)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "local"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return parsed.exploded[:19]
    return str(parsed)
