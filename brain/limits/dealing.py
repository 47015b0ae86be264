"""Deals parts of limits to gateway processes, so that all of them together keep each limit.

Rates follow the Generic Cell Rate Algorithm (ITU-T I.371, annex A, in its form of virtual
scheduling): one number a subject, the time at which its quota is whole again, kept in Valkey and
moved by a script. A whole minute's quota may come at once, then the rate. What a gateway spent
ahead of a lease moves the number past the limit, and nothing is dealt until that time has passed.

Slots (requests at once) are a table of what each gateway process holds; a process that is silent
for ``SLOTS_SECONDS`` holds none. Valkey's clock is the only one that counts.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kernel.clock import NS, Clock
from kernel.wire.limits import LimitGrant, LimitKind, LimitsAnswer, LimitsRequest

PROCESS_SECONDS: Final = 10  # one that did not ask for so long does not count
SLOTS_SECONDS: Final = 10
REST_SECONDS: Final = 1  # Valkey is left alone so long after a failure
_GATEWAYS: Final = "ganglion:lease:gateways"

# KEYS: the gateways, then one a subject. ARGV: boot id, seconds of a process, of slots, then
# kind, limit, want, owed, back for each subject. Returns processes, then three for each subject.
_DEAL: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local boot, process_us, slots_us = ARGV[1], tonumber(ARGV[2]) * 1e6, tonumber(ARGV[3]) * 1e6
local minute = 60000000
redis.call('ZADD', KEYS[1], now, boot)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - process_us)
redis.call('PEXPIRE', KEYS[1], 60000)
local out = {redis.call('ZCARD', KEYS[1])}

local function rate(key, limit, want, owed, back)
  local each = minute / limit
  local whole = math.max(tonumber(redis.call('GET', key) or '0'), now)
  whole = math.max(whole + (math.min(owed, limit) - back) * each, now)
  local free = math.max(0, math.floor((now + minute - whole) / each + 0.001))
  local granted = math.min(want, free)
  whole = whole + granted * each
  redis.call('SET', key, string.format('%.2f', whole), 'PX', math.ceil((whole - now) / 1000) + 1000)
  local wait = 0
  if free - granted < 1 then wait = math.ceil((whole + each - minute - now) / 1000) end
  return granted, free - granted, math.max(wait, 0)
end

local function slots(key, limit, want, owed)
  local others = 0
  local held = redis.call('HGETALL', key)
  for i = 1, #held, 2 do
    local count, till = string.match(held[i + 1], '^(%d+) (%d+)$')
    if held[i] == boot then
    elseif tonumber(till) < now then redis.call('HDEL', key, held[i])
    else others = others + tonumber(count) end
  end
  local granted = math.max(owed, math.min(want, math.max(0, limit - others)))
  if granted == 0 then redis.call('HDEL', key, boot)
  else
    redis.call('HSET', key, boot, string.format('%d %d', granted, now + slots_us))
    redis.call('PEXPIRE', key, slots_us / 1000)
  end
  return granted, math.max(0, limit - others - granted), 0
end

for i = 2, #KEYS do
  local a = 4 + (i - 2) * 5
  local limit, want = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local owed, back = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local granted, left, wait
  if ARGV[a] == 'slots' then granted, left, wait = slots(KEYS[i], limit, want, owed)
  else granted, left, wait = rate(KEYS[i], limit, want, owed, back) end
  out[#out + 1], out[#out + 2], out[#out + 3] = granted, left, wait
end
return out
"""

_log = structlog.get_logger()


class Dealer:
    """One for each web process; they all deal from the same Valkey."""

    def __init__(self, valkey: Redis, clock: Clock) -> None:
        self._clock = clock
        self._script = valkey.register_script(_DEAL)
        self._rest_until_ns = clock.monotonic_ns()
        self._seen: dict[str, int] = {}  # when a gateway process asked last

    async def deal(self, request: LimitsRequest) -> LimitsAnswer:
        """One grant for each ask; without Valkey none, and how many are to share each limit."""
        now_ns = self._clock.monotonic_ns()
        self._seen[request.boot_id] = now_ns
        if now_ns < self._rest_until_ns:
            return self._away(now_ns)
        names = [_GATEWAYS]
        arguments: list[str | int] = [request.boot_id, PROCESS_SECONDS, SLOTS_SECONDS]
        for ask in request.asks:
            kind = "slots" if ask.kind is LimitKind.SLOTS else "rate"
            names.append(f"ganglion:lease:{kind}:{ask.subject}")
            arguments += [kind, ask.limit, ask.want, ask.owed, ask.back]
        try:
            found: list[Any] = await self._script(keys=names, args=arguments)
        except (RedisError, OSError) as failure:
            self._rest_until_ns = self._clock.monotonic_ns() + REST_SECONDS * NS
            _log.warning("limits_cannot_be_dealt", failure=type(failure).__name__)
            return self._away(now_ns)
        figures = [int(figure) for figure in found]
        grants = [LimitGrant(*figures[at : at + 3]) for at in range(1, len(figures), 3)]
        return LimitsAnswer(grants=grants, processes=max(1, figures[0]))

    def _away(self, now_ns: int) -> LimitsAnswer:
        """Those count that asked this process of the brain."""
        old_ns = now_ns - PROCESS_SECONDS * NS
        self._seen = {boot: seen_ns for boot, seen_ns in self._seen.items() if seen_ns > old_ns}
        return LimitsAnswer(grants=[], processes=len(self._seen), away=True)
