"""Asks workers how they are: their health, their gauges and token counters by vLLM's names."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx

HEALTH_SECONDS_MAX = 3.0
METRICS_BYTES_MAX = 1 << 20
GAUGES = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
}
CACHE_INFO = "vllm:cache_config_info"  # tells by its labels
KV_CACHE_TOKENS = "kv_cache_tokens"  # our own name for what it tells
_LABEL = re.compile(r'(\w+)="(\d{1,15})"')


class Probe:
    """Speaks HTTP to loopback ports only; a failure is an answer, never an exception."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            timeout=HEALTH_SECONDS_MAX,
            limits=limits,
            trust_env=False,
            follow_redirects=False,
            verify=False,  # noqa: S501  http to loopback only
        )

    async def healthy(self, port: int, path: str) -> bool:
        try:
            answer = await self._client.get(f"http://127.0.0.1:{port}{path}")
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return answer.status_code == httpx.codes.OK

    async def gauges(self, port: int) -> dict[str, float]:
        """The worker's gauges, or nothing when it has none to tell."""
        body = b""
        try:
            async with self._client.stream("GET", f"http://127.0.0.1:{port}/metrics") as answer:
                if answer.status_code != httpx.codes.OK:
                    return {}
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > METRICS_BYTES_MAX:
                        return {}
        except httpx.HTTPError:
            return {}
        return read_gauges(body.decode("utf-8", errors="replace").splitlines())

    async def close(self) -> None:
        await self._client.aclose()


def read_gauges(lines: Iterable[str]) -> dict[str, float]:
    """Sums each known gauge over its label sets (one a model or engine)."""
    sums: dict[str, float] = {}
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        if name == CACHE_INFO:
            sums[KV_CACHE_TOKENS] = float(_cache_tokens(line))
        if name not in GAUGES:
            continue
        try:
            value = float(line.rpartition("}")[2].split()[0 if "}" in line else 1])
        except (ValueError, IndexError):
            continue
        if value == value and abs(value) != float("inf"):  # noqa: PLR0124  not a number, endless
            sums[name] = sums.get(name, 0.0) + value
    return sums


def _cache_tokens(line: str) -> int:
    """Room in the cache of one engine: of several, alike, the last. Older vLLM tells blocks."""
    told = {name: int(value) for name, value in _LABEL.findall(line)}
    blocks = told.get("num_gpu_blocks", 0) * told.get("block_size", 0)
    return told.get("kv_cache_size_tokens", blocks)
