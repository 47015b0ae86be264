"""The last beat of each node, whole, in Valkey with a time to live: for people, not for rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kernel.ids import NodeId
from kernel.wire.agent import Beat, beat_decoder

KEPT_BEATS = 6
AT_ONCE = 250  # beats in one call: between two calls the process serves others
_KEEP = """
for place, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[place + 1], 'EX', ARGV[1])
end
"""

_log = structlog.get_logger()


@dataclass(frozen=True)
class LastBeat:
    at_ns: int
    beat: Beat


@dataclass(frozen=True)
class Telemetry:
    """Readings older than a minute are gone. Every call may find nothing."""

    valkey: Redis
    on_lost: Callable[[int], None] = lambda _: None  # told how many beats were not kept

    async def keep(self, states: Mapping[NodeId, tuple[int, bytes]], *, beat_seconds: int) -> None:
        """Write these nodes' beats, many with one call; a Valkey that is away costs them."""
        lines = [(_key(node), b"%d\n%b" % (at, body)) for node, (at, body) in states.items()]
        try:
            for first in range(0, len(lines), AT_ONCE):
                part = lines[first : first + AT_ONCE]
                await self._keep(part, beat_seconds * KEPT_BEATS)
        except (RedisError, OSError) as error:
            self.on_lost(len(states))
            _log.warning("telemetry_lost", nodes=len(states), failure=type(error).__name__)

    async def _keep(self, lines: Sequence[tuple[str, bytes]], seconds: int) -> None:
        keep = self.valkey.register_script(_KEEP)
        await keep(keys=[key for key, _ in lines], args=[seconds, *(value for _, value in lines)])

    async def last(self, node_ids: Sequence[NodeId]) -> dict[NodeId, LastBeat]:
        """The last beats that are known of these nodes."""
        if not node_ids:
            return {}
        try:
            values = await self.valkey.mget([_key(node_id) for node_id in node_ids])
        except (RedisError, OSError):
            return {}
        found = {}
        for node_id, value in zip(node_ids, values, strict=True):
            last = None if value is None else _read(value)
            if last is not None:
                found[node_id] = last
        return found


def _key(node_id: NodeId) -> str:
    return f"ganglion:beat:{node_id}"


def _read(value: bytes) -> LastBeat | None:
    at, _, body = value.partition(b"\n")
    try:
        return LastBeat(int(at), beat_decoder.decode(body))
    except (ValueError, msgspec.MsgspecError):
        return None
