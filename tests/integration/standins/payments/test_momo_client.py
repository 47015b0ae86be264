"""MoMo's stand-in on a port, judged by MTN's old client, which nobody has touched."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from kernel.clock import ManualClock
from standins.payments.front import Doors
from standins.payments.momo.desk import MomoDesk

ID = "053c6dea-dd68-4f5c-8c83-c830dac9f40"
USER, DISBURSEMENT, COLLECTION = ID + "1", ID + "2", ID + "3"
NUMBER = "256772123456"
CALLS = """
import contextlib, io, json, sys
from mtnmomo.collection import Collection
from mtnmomo.disbursement import Disbursement
config = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):  # it prints what it gets
    collection, disbursement = Collection(config), Disbursement(config)
    asked = collection.requestToPay(mobile=sys.argv[2], amount="600", external_id="e1",
                                    payee_note="n", payer_message="m", currency="EUR")
    paid = collection.getTransactionStatus(asked["transaction_ref"])
    sent = disbursement.transfer(amount="5", mobile=sys.argv[2], external_id="1",
                                 payee_note="n", payer_message="m", currency="EUR")
    gone = disbursement.getTransactionStatus(sent["transaction_ref"])
    left = collection.getBalance()
print(json.dumps([paid["status"], gone["status"], left]))
"""


@pytest.mark.feature("H3", "H6")
async def test_the_vendors_own_client_collects_and_transfers(
    momo_client: Path, clock: ManualClock, seed: int, tmp_path: Path
) -> None:
    keys = {"collection": COLLECTION, "disbursement": DISBURSEMENT}
    desk = MomoDesk(clock, random.Random(seed), keys, {USER: USER})
    server = await asyncio.start_server(Doors(desk).connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = {
        "BASE_URL": f"http://127.0.0.1:{port}",
        "ENVIRONMENT": "sandbox",
        "COLLECTION_API_SECRET": USER,
        "COLLECTION_USER_ID": USER,
        "COLLECTION_PRIMARY_KEY": COLLECTION,
        "DISBURSEMENT_API_SECRET": USER,
        "DISBURSEMENT_USER_ID": USER,
        "DISBURSEMENT_PRIMARY_KEY": DISBURSEMENT,
        "REMITTANCE_API_SECRET": USER,
        "REMITTANCE_USER_ID": USER,
        "REMITTANCE_PRIMARY_KEY": COLLECTION,
    }
    process = await asyncio.create_subprocess_exec(
        *(str(momo_client), "-W", "ignore", "-c", CALLS, json.dumps(config), NUMBER),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 240)
    server.close()
    assert process.returncode == 0, err.decode()[-2000:]
    balance = {"availableBalance": "600", "currency": "EUR"}
    assert json.loads(out) == ["SUCCESSFUL", "SUCCESSFUL", balance]
