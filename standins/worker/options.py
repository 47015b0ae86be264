"""The stand-in worker's switches; the names are vLLM's where vLLM has the same switch."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from standins.worker.faults import Fault, read_faults


class OnStop(StrEnum):
    """What vLLM was seen to give open requests on SIGTERM; which of them is chance."""

    ERROR = "error"  # an error frame, then [DONE]
    ABORT = "abort"  # finish_reason "abort", status 200
    HANG = "hang"  # no more bytes and no end until the client leaves


@dataclass(frozen=True, slots=True)
class Options:
    """How one stand-in worker behaves for its whole life."""

    port: int
    model: str
    host: str = "127.0.0.1"
    max_model_len: int = 4096
    max_num_seqs: int = 256
    kv_cache_tokens: int = 0  # room for so many; 0 = as many as the seats, however long
    max_num_queued_reqs: int = 0  # 0 = no bound, as vLLM's default
    api_key: str = ""
    shutdown_timeout: float = 0.0
    on_stop: OnStop = OnStop.ERROR
    tokens_per_second: float = 200.0  # 0 = as fast as it can
    first_token_ms: float = 5.0
    load_seconds: float = 0.0
    body_bytes_max: int = 64 * 1024 * 1024
    remember: int = 0
    upload_bytes_max: int = 25 * 1024 * 1024  # vLLM's for audio
    store_responses: bool = False
    journal: str = ""
    faults: tuple[Fault, ...] = ()


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line; argparse prints what is wrong and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m standins.worker",
        description="The Ganglion stand-in worker: speaks vLLM's HTTP, knows no language.",
    )
    _add_engine_switches(parser)
    _add_stand_in_switches(parser)
    given = vars(parser.parse_args(list(arguments)))
    faults_text: str = given.pop("faults")
    try:
        faults = read_faults(json.loads(faults_text)) if faults_text else ()
    except ValueError as wrong:
        parser.error(f"--faults: {wrong}")
    return Options(**given, faults=faults)


def _add_engine_switches(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", "--served-model-name", required=True, help="the name it serves")
    parser.add_argument("--max-model-len", type=int, default=4096, metavar="TOKENS")
    parser.add_argument("--max-num-seqs", type=int, default=256, help="run at once; more wait")
    parser.add_argument("--max-num-queued-reqs", type=int, default=0, help="wait at once; then 503")
    parser.add_argument("--kv-cache-tokens", type=int, default=0, help="of its KV cache, as told")
    parser.add_argument("--api-key", default="", help="asked for on /v1/* only")
    parser.add_argument("--shutdown-timeout", type=float, default=0.0, metavar="SECONDS")


def _add_stand_in_switches(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens-per-second", type=float, default=200.0, help="0 = at once")
    parser.add_argument("--first-token-ms", type=float, default=5.0)
    parser.add_argument("--load-seconds", type=float, default=0.0, help="wait before it listens")
    parser.add_argument(
        "--on-stop",
        type=OnStop,
        choices=list(OnStop),
        default=OnStop.ERROR,
        help="what open requests get on SIGTERM",
    )
    parser.add_argument("--body-bytes-max", type=int, default=64 * 1024 * 1024)
    parser.add_argument(
        "--remember",
        type=int,
        default=0,
        metavar="N",
        help="show the last N request bodies at /stand-in/state",
    )
    parser.add_argument(
        "--upload-bytes-max", type=int, default=25 * 1024 * 1024, help="of one audio file"
    )
    parser.add_argument(
        "--store-responses",
        action="store_true",
        help="keep Responses, as vLLM does with VLLM_ENABLE_RESPONSES_API_STORE=1",
    )
    parser.add_argument(
        "--journal",
        default=os.environ.get("STAND_IN_JOURNAL", ""),
        metavar="FILE",
        help="add a line for each request begun that bears an x-request-id (STAND_IN_JOURNAL)",
    )
    parser.add_argument("--faults", default="", metavar="JSON", help="see docs/stand-ins.md")
