"""``python -m bench [--only X]``: prints one line a figure, ``name value unit``.

Each part gets a fresh database on a PostgreSQL and a Valkey of the run's own, both as durable as
in production. A figure that cannot be had is told as ``name n/a reason``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import asyncpg

from bench.aborts import NAMES as ABORTS
from bench.figure import Figure
from bench.outages import NAMES as OUTAGES
from bench.steps import NAMES as STEPS
from cli.embedded import Postgres, Valkey
from cli.supervisor.preflight import raise_open_files

# What each part is to print; a name that it leaves out is told as missing.
PARTS: dict[str, tuple[str, ...]] = {
    "gateway": (
        "gateway_request_x_nginx_c32",
        "gateway_request_x_nginx_c256",
        "gateway_request_x_vllm_router",
        "gateway_request_x_litellm",
        "gateway_prompt_x_nginx",
        "gateway_answer_x_nginx",
        "gateway_large_x_nginx",
        "gateway_chunk_x_nginx_64",
        "gateway_chunk_x_nginx_256",
        "gateway_added_p50_ms",
        "gateway_added_p99_ms",
        "gateway_ttft_p50_ms_256",
        "gateway_ttft_p99_ms_256",
        "gateway_lost_of_2000_streams",
        "gateway_rss_mib",
        "gateway_rss_mib_after_2000",
        "gateway_lost",
    ),
    "steps": STEPS,
    "endurance": (
        "endurance_requests",
        "endurance_aborted_percent",
        "endurance_aborted_midway_percent",
        "endurance_streams_percent",
        "endurance_rss_mib",
        "endurance_rss_growth_mib",
        "endurance_uncounted",
    ),
    "aborts": (*ABORTS, "abort_p99_ms_worst"),
    "outages": OUTAGES,
    "front": (
        "front_request_x_nginx",
        "front_requests_per_s",
        "front_download_mib_x_nginx",
        "front_upload_mib_x_nginx",
        "front_frame_x_nginx",
        "front_ssh_down_mib_cpu_us",
        "front_ssh_up_mib_cpu_us",
        "front_rss_mib_idle_500",
    ),
    "ledger": (
        "ledger_debits_x_row",
        "ledger_debits_hot_per_s",
        "ledger_debits_1000_per_s",
        "ledger_debit_p50_ms_64",
        "ledger_debit_p99_ms_64",
        "fold_segments_per_s",
    ),
    "planner": (
        "planner_decisions_per_s_10k",
        "planner_decisions_per_s_100k",
        "plan_cost_over_optimum_percent",
        "claims_per_s",
        "double_claims",
    ),
    "heartbeats": ("heartbeats_per_s_core",),
    "history": (
        "history_beat_us",
        "history_written_rows_per_s",
        "history_rolled_rows_per_s",
        "history_row_bytes",
    ),
    "host": (
        "agent_host_rss_mib",
        "agent_host_reader_rss_mib",
        "agent_host_all_pss_mib",
        "agent_host_core_percent",
    ),
    "start": ("start_cold_s", "start_warm_s", "demo_s", "agent_rss_mib", "rss_mib_front"),
}


async def measure(part: str, postgres: Postgres, valkey: Valkey, number: int) -> list[Figure]:
    """The part's figures; a part that fails is told for each of its names."""
    database = f"bench_{part}"
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()
    try:
        module = importlib.import_module(f"bench.{part}")
        found: list[Figure] = await module.figures(postgres.url(database), valkey.url(number))
    except Exception as problem:
        traceback.print_exc(file=sys.stderr)
        reason = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
        return [Figure(name, None, "", reason) for name in PARTS[part]]
    known = {figure.name for figure in found}
    missing = [Figure(n, None, "", "not measured") for n in PARTS[part] if n not in known]
    return [*found, *missing]


async def run(parts: list[str]) -> bool:
    """True when every figure could be had."""
    home = Path(tempfile.mkdtemp(prefix="ganglion-bench-"))
    postgres, valkey = Postgres(home), Valkey(home)
    had_all = True
    try:
        await postgres.start()
        await valkey.start()
        for number, part in enumerate(parts):
            for figure in await measure(part, postgres, valkey, number):
                print(figure.line(), flush=True)
                had_all = had_all and figure.value is not None
    finally:
        await valkey.stop()
        await postgres.stop()
        shutil.rmtree(home, ignore_errors=True)
    return had_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part")
    asked = parser.parse_args()
    raise_open_files()
    asyncio.run(run([asked.only] if asked.only else list(PARTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
