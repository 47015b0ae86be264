"""``ganglion stand-in momo --port N``: the sandbox on a port, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence

from kernel.clock import SystemClock
from standins.payments.front import serve
from standins.payments.momo.desk import MomoDesk

COLLECTION_KEY = "c0113c71-0000-4000-8000-000000000001"
DISBURSEMENT_KEY = "d15b0000-0000-4000-8000-000000000001"
USER = "5a4db0c5-0000-4000-8000-000000000001"
USER_KEY = "0123456789abcdef0123456789abcdef"


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry of the ``ganglion stand-in`` command."""
    parser = argparse.ArgumentParser(
        prog="ganglion stand-in momo", description="MTN MoMo's sandbox."
    )
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--collection-key", default=COLLECTION_KEY, help="a subscription key")
    parser.add_argument("--disbursement-key", default=DISBURSEMENT_KEY)
    parser.add_argument("--user", default=USER, help="the API user, for both products")
    parser.add_argument("--user-key", default=USER_KEY)
    parser.add_argument(
        "--observed", action="store_true", help="test numbers do what was observed, not documented"
    )
    parser.add_argument("--seed", type=int, default=0, help="of its chance; 0: another each time")
    given = parser.parse_args(list(sys.argv[1:] if arguments is None else arguments))
    desk = MomoDesk(
        clock=SystemClock(),
        chance=random.Random(given.seed or None),
        keys={"collection": given.collection_key, "disbursement": given.disbursement_key},
        users={given.user: given.user_key},
        observed=given.observed,
    )
    return asyncio.run(serve(desk, "momo", given.host, given.port))
