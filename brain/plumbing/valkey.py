"""The Valkey (or Redis) client: every call has a deadline, nothing correct depends on it."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, *, seconds_max: float = 1.0) -> Redis:
    """A client with its own pool. It dials at the first call and again after a loss."""
    client: Redis = Redis.from_url(
        url,
        socket_timeout=seconds_max,
        socket_connect_timeout=seconds_max,
        health_check_interval=30,
        max_connections=32,
        retry=Retry(NoBackoff(), 1),
        client_name="ganglion",
    )
    return client
