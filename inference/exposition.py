"""The page that Prometheus reads: the counters, what the tables say now, and this process.

No label has a value of a tenant's choosing, and none grows without bound: a replica has a line of
its own only while its breaker keeps it away, and of these there are at most ``AWAY_MAX``.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from inference.route import FAILURES_TO_REST, Breaker

if TYPE_CHECKING:
    from inference.gateway import Gateway

AWAY_MAX = 50
_STATES = ("closed", "half_open", "open")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def page(gateway: Gateway) -> bytes:
    gauges = {
        **gateway.gauges(),
        **gateway.spool.gauges(),
        "keyed_running": len(gateway.replays.running),
        "waiting_for_money": sum(
            len(account.purse.waiters) for account in gateway.tables.accounts.values()
        ),
    }
    lines = [*_breakers(gateway), *_process()]
    return gateway.metrics.render(gauges) + "\n".join(lines).encode() + b"\n"


def breaker_state(breaker: Breaker, now_ns: int) -> str:
    """``half_open``: its rest is over, and one request at a time tries it."""
    if breaker.failures < FAILURES_TO_REST:
        return "closed"
    return "open" if now_ns < breaker.until_ns else "half_open"


def _breakers(gateway: Gateway) -> Iterator[str]:
    now_ns = gateway.now_ns()
    counts = dict.fromkeys(_STATES, 0)
    away: list[tuple[str, str]] = []
    for replica_id, replica in gateway.tables.replicas.items():
        state = breaker_state(replica.breaker, now_ns)
        counts[state] += 1
        if state != "closed" and len(away) < AWAY_MAX:
            away.append((replica_id, state))
    yield "# TYPE ganglion_gateway_breakers gauge"
    for state, count in counts.items():
        yield f'ganglion_gateway_breakers{{state="{state}"}} {count}'
    yield "# TYPE ganglion_gateway_breaker_away gauge"
    for replica_id, state in away:
        yield f'ganglion_gateway_breaker_away{{replica="{replica_id}",state="{state}"}} 1'


def _process() -> Iterator[str]:
    """Under the names that every client of Prometheus uses."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    for name, kind, value in (
        ("process_cpu_seconds_total", "counter", used.ru_utime + used.ru_stime),
        ("process_resident_memory_bytes", "gauge", pages * _PAGE_BYTES),
        ("process_open_fds", "gauge", len(os.listdir("/proc/self/fd"))),
    ):
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value:.15g}"
