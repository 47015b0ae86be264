"""The account: who it is, its credit, its SSH keys, its bills."""

from __future__ import annotations

import json
from typing import Any

from kernel.clock import NS
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, as_json
from standins.clouds.vast.desk import Call, Desk, Says, bad, dollars, success
from standins.clouds.vast.market import number_of

USER_ID = 4242
KINDS = ("ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-")
KEYS_MAX = 100
CREDIT_WITHOUT_END = 10_000.0
CHARGES_MAX = 100


def user(desk: Desk, call: Call) -> Answer:
    """``credit`` is what can be spent; ``balance`` counts otherwise."""
    left = desk.world.balance_nano()
    keys = list(desk.ssh_keys.values())
    said = {
        "id": USER_ID,
        "email": "stand-in@example.org",
        "username": "stand-in",
        "fullname": "Emulated account",
        "balance": 0.0,
        "credit": CREDIT_WITHOUT_END if left is None else dollars(left),
        "balance_threshold": 0.0,
        "balance_threshold_enabled": False,
        "billed_expected": 0.0,
        "billing_creditonly": 1,
        "can_pay": True,
        "email_verified": True,
        "has_billing": True,
        "sid": "emulated",
        "ssh_key": keys[0]["key"] if keys else None,
        "api_key": desk.key,
    }
    return as_json(said)


def gpu_names(desk: Desk, call: Call) -> Answer:
    """Asked for without a key."""
    return as_json({"gpu_names": sorted({one.gpu_name for one in desk.world.stocks.values()})})


def result(desk: Desk, token: str) -> Answer:
    """Text that a command or the logs left, as an object store gives it: by its address alone."""
    text = desk.results.get(token)
    if text is None:
        return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
    return Answer(200, text.encode(), "text/plain; charset=utf-8")


# --- SSH keys -----------------------------------------------------------------------------------


def ssh_keys(desk: Desk, call: Call) -> Answer:
    """A bare list, whose rows say ``key`` where the answer to a new one says ``public_key``."""
    return as_json(list(desk.ssh_keys.values()))


def add_ssh_key(desk: Desk, call: Call) -> Answer:
    key = _key_of(call.body)
    if len(desk.ssh_keys) >= KEYS_MAX:
        raise bad(f"an account has at most {KEYS_MAX} keys")
    number = desk.number()
    made = desk.iso(desk.world.now_ns)
    desk.ssh_keys[number] = {
        "id": number,
        "user_id": USER_ID,
        "key": key,
        "created_at": made,
        "deleted_at": None,
    }
    shown = {"id": number, "user_id": USER_ID, "public_key": key}
    return success(key=shown | {"created_at": made, "deleted_at": None})


def change_ssh_key(desk: Desk, call: Call) -> Answer:
    _known_key(desk, call)["key"] = _key_of(call.body)
    return success(msg="SSH key updated")


def remove_ssh_key(desk: Desk, call: Call) -> Answer:
    _known_key(desk, call)
    del desk.ssh_keys[call.number]
    return success(msg="SSH key deleted")


def instance_keys(desk: Desk, call: Call) -> Answer:
    """The list travels as a text of JSON."""
    machine = desk.world.get(call.machine_id).machine
    return success(ssh_keys=json.dumps(machine.details.get("ssh_keys", [])))


def attach_key(desk: Desk, call: Call) -> Answer:
    machine = desk.world.get(call.machine_id).machine
    key = _key_of(call.body)
    keys = machine.details.setdefault("ssh_keys", [])
    keys.append({"id": desk.number(), "public_key": key})
    return success(msg="SSH key added to instance.")


def detach_key(desk: Desk, call: Call) -> Answer:
    machine = desk.world.get(call.machine_id).machine
    keys: list[dict[str, Any]] = machine.details.get("ssh_keys", [])
    left = [one for one in keys if one["id"] != call.numbers[1]]
    if len(left) == len(keys):
        raise Refused(Trouble.MISSING, "There is no such key on this instance.")
    machine.details["ssh_keys"] = left
    return success(msg="SSH key removed from instance.")


def _key_of(body: dict[str, Any]) -> str:
    key = body.get("ssh_key")
    if not isinstance(key, str) or not key.startswith(KINDS):
        raise bad("ssh_key must be a public key")
    return key.strip()


def _known_key(desk: Desk, call: Call) -> dict[str, Any]:
    key = desk.ssh_keys.get(call.number)
    if key is None:
        raise Refused(Trouble.MISSING, "There is no such SSH key.")
    return key


# --- money --------------------------------------------------------------------------------------


def deposit(desk: Desk, call: Call) -> Answer:
    machine = desk.world.get(call.machine_id).machine
    spent = dollars(desk.world.cost_nano(machine.machine_id))
    return as_json({"success": True, "balance": 0.0, "discount": 0.0, "spent": spent})


def prepay(desk: Desk, call: Call) -> Answer:
    amount = number_of(call.body.get("amount"))
    if amount is None or amount <= 0:
        raise bad("amount is a number of dollars")
    desk.world.get(call.machine_id)
    left = desk.world.balance_nano()
    if left is not None and dollars(left) < amount:
        raise Says(411, "insufficient_credit", "Your account lacks credit.")
    return success(timescale=1.0, discount_rate=0.2)


def charges(desk: Desk, call: Call) -> Answer:
    """What each machine has cost to this moment, the newest first."""
    rows = [
        {
            "start": int(desk.seconds(machine.made_ns)),
            "end": int(desk.seconds(desk.world.now_ns)),
            "type": "instance",
            "source": f"instance-{machine.machine_id}",
            "description": f"{machine.rental.gpus}x {machine.stock.gpu_name}",
            "amount": dollars(desk.world.cost_nano(machine.machine_id)),
            "metadata": {"label": machine.tag or None},
            "items": [],
        }
        for machine in desk.world.machines.values()
    ]
    page = rows[-CHARGES_MAX:][::-1]
    return success(results=page, count=len(page), total=len(rows), next_token=None)


def contracts(desk: Desk, call: Call) -> Answer:
    wanted = call.body.get("label")
    found = [one for one in desk.world.alive() if wanted is None or one.tag == wanted]
    rows = [
        {
            "id": int(one.machine_id),
            "label": one.tag or None,
            "type": "instance",
            "start_date": desk.seconds(one.made_ns),
            "hours": (desk.world.now_ns - one.made_ns) / NS / 3600,
        }
        for one in found
    ]
    return success(contracts=rows)
