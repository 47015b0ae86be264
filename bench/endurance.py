"""A million requests through one gateway, every tenth given up by its client: does its memory grow?

Its memory is looked at after a first tenth, in which pools and tables fill, and at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bench.figure import Figure
from bench.gateway import spooled_ends, start_gateway
from bench.rig import LOAD_CORE, CannotMeasure, build, free_port, measure, start

REQUESTS = 1_000_000
CONNECTIONS = 32
SECONDS = 10.0


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    try:
        build("load")
        mock = str(build("mock_worker"))
    except CannotMeasure as missing:
        return [Figure("endurance_rss_growth_mib", None, "", str(missing))]
    home, port = Path(tempfile.mkdtemp(prefix="ganglion-bench-endurance-")), free_port()
    servers = [await start("mock_worker", [mock, str(port), "1", "1"], port, core=LOAD_CORE)]
    try:
        gateway = await start_gateway(port, home)
        servers.append(gateway)
        asked = answered = aborted = failed = 0
        early = 0.0
        while asked < REQUESTS:
            found = await measure(gateway, CONNECTIONS, SECONDS, "rough")
            answered, aborted = answered + found.answered, aborted + found.aborted
            failed, asked = failed + found.failed, answered + aborted
            if not early and asked > REQUESTS / 10:
                early = gateway.rss_mib()
        late = gateway.rss_mib()
        gateway.stop()
        servers.remove(gateway)
        counted = spooled_ends(home / "spool")
        return [
            Figure("endurance_requests", asked, "requests"),
            Figure("endurance_aborted_percent", 100 * aborted / asked, "%"),
            Figure("endurance_rss_mib", late, "MiB"),
            Figure("endurance_rss_growth_mib", late - early, "MiB"),
            Figure("endurance_uncounted", failed + max(0, answered - counted), "requests"),
        ]
    finally:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(home, ignore_errors=True)
