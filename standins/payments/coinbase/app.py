"""``ganglion stand-in coinbase --port N``: prints a key that it takes, and where to point."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sys
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.clock import SystemClock
from standins.payments.coinbase.desk import CoinbaseDesk
from standins.payments.front import serve

KEY_ID = "organizations/stand-in/apiKeys/stand-in"


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry of the ``ganglion stand-in`` command."""
    parser = argparse.ArgumentParser(prog="ganglion stand-in coinbase")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--hook", default="", help="address that webhooks go to")
    parser.add_argument("--hook-secret", default="stand-in-subscription")
    parser.add_argument("--seed", type=int, default=0, help="of its chance; 0: another each time")
    given = parser.parse_args(list(sys.argv[1:] if arguments is None else arguments))
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    desk = CoinbaseDesk(
        clock=SystemClock(),
        chance=random.Random(given.seed or None),
        key_id=KEY_ID,
        public_key=key.public_key(),
        hook=(given.hook, given.hook_secret) if given.hook else None,
    )
    point = {
        "CRYPTO_PAYMENTS": "true",
        "COINBASE_COUNTRY": "US",
        "COINBASE_KEY_ID": KEY_ID,
        "COINBASE_KEY_SECRET": base64.b64encode(seed).decode(),
    }
    sys.stdout.write(json.dumps({"point": point}) + "\n")
    return asyncio.run(serve(desk, "coinbase", given.host, given.port))
