"""Renting: what a create call must look like, and what the new container will run."""

from __future__ import annotations

import re
import shlex
from typing import Any

from kernel.money import NANO
from standins.clouds.machine import Machine, Program, Rental
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer
from standins.clouds.vast.desk import GIB_IN_GB, Call, Desk, Says, bad, success
from standins.clouds.vast.market import Ask, asks, ever_asked, found, number_of

BULK_MAX = 64
LABEL_LENGTH_MAX = 1024
ONSTART_LENGTH_MAX = 4048
DISK_GB_DEFAULT = 10.0
BID_LEAST, BID_MOST = 0.001, 128.0
RUNTYPE = re.compile(
    r"(?:args|(?:ssh|jupyter)(?:_(?:proxy|direc|direct))?"
    r"(?: (?:ssh|jupyter)(?:_(?:proxy|direc|direct))?)*)\Z"
)
PORT_FLAG = re.compile(r"-p (\d{1,5}):(\d{1,5})(?:/(tcp|udp))?\Z")


def create(desk: Desk, call: Call) -> Answer:
    """PUT /asks/{id}/."""
    return success(**_created(desk, call.number, call.body))


def create_many(desk: Desk, call: Call) -> Answer:
    """POST /asks/bulk/: each ask by itself; the first refusal is the answer."""
    ids = call.body.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= BULK_MAX:
        raise bad(f"ids must be a list of 1 to {BULK_MAX} asks")
    made = [_created(desk, int(number_of(one) or 0), call.body) for one in ids]
    return success(new_contracts=[one["new_contract"] for one in made], results=made)


def launch(desk: Desk, call: Call) -> Answer:
    """PUT /launch_instance/: the first offer of a search."""
    query = call.body.get("q")
    if not isinstance(query, dict):
        raise bad("q must be an object")
    desk.count_search()
    rows = found(desk, query)
    if not rows:
        raise Says(404, "no_such_ask", "No offers found that match your request.")
    return success(**_created(desk, rows[0]["id"], call.body))


def _created(desk: Desk, number: int, body: dict[str, Any]) -> dict[str, object]:
    ask = asks(desk.world.shelves()).get(number)
    if ask is None:
        raise _gone(desk, number, body)
    rental = _rental(ask, body)
    try:
        machine = _rented(desk, ask, rental)
    except Refused as refused:
        if refused.trouble == Trouble.NO_CAPACITY:
            raise _gone(desk, number, body) from refused
        raise
    key = f"{desk.world.chance.getrandbits(256):064x}"
    return {"new_contract": int(machine.machine_id), "instance_api_key": key}


def _rented(desk: Desk, ask: Ask, rental: Rental) -> Machine:
    """A bid below the least one makes a contract all the same, which stands still."""
    least, bid = ask.stock.bid_nano, rental.bid_nano
    if bid is None:
        return desk.world.create(rental)
    if least is None:
        raise Says(400, "invalid_price", "This machine is not offered as interruptible.")
    if bid >= least:
        return desk.world.create(rental)
    poor = Rental(
        stock_key=rental.stock_key,
        tag=rental.tag,
        gpus=rental.gpus,
        disk_gib=rental.disk_gib,
        bid_nano=least,
        details=rental.details,
    )
    machine = desk.world.create(poor)
    desk.world.interrupt(machine.machine_id, "outbid")
    raise Says(
        400,
        "invalid_price",
        "Your bid is below the least bid of this machine.",
        new_contract=int(machine.machine_id),
    )


def _gone(desk: Desk, number: int, body: dict[str, Any]) -> Says:
    """An ask that was there is gone (410) where the caller wants no stopped contract instead."""
    msg = f"Instance type by id {number} is not available."
    cancelled = body.get("cancel_unavail") is True and ever_asked(desk, number)
    return Says(410 if cancelled else 404, "no_such_ask", msg, ask_id=number)


def _rental(ask: Ask, body: dict[str, Any]) -> Rental:
    details = _checked(body)
    price = body.get("price")
    bid = None
    if price is not None:
        offered = number_of(price)
        if offered is None or not BID_LEAST <= offered <= BID_MOST:
            raise Says(400, "invalid_price", f"price must be {BID_LEAST} to {BID_MOST}")
        bid = int(offered * NANO) // ask.gpus
    return Rental(
        stock_key=ask.stock.key,
        tag=body.get("label") or "",
        gpus=ask.gpus,
        program=_program(details),
        disk_gib=round(details["disk"] / GIB_IN_GB),
        bid_nano=bid,
        details=details,
    )


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an order, or the refusal of what breaks a rule."""
    image, env = body.get("image"), body.get("env")
    if not isinstance(image, str) or not image.strip():
        if not body.get("template_hash_id"):
            raise bad("image is required")
        image = "template"
    env = {} if env is None else env
    if not isinstance(env, dict) or not all(isinstance(one, str) for one in env.values()):
        raise bad("env must be an object of texts")
    onstart = body.get("onstart") or ""
    if not isinstance(onstart, str) or len(onstart) > ONSTART_LENGTH_MAX:
        raise bad(f"onstart must be a text of at most {ONSTART_LENGTH_MAX} characters")
    label = body.get("label") or ""
    if not isinstance(label, str) or len(label) > LABEL_LENGTH_MAX:
        raise bad(f"label must be a text of at most {LABEL_LENGTH_MAX} characters")
    arguments = body.get("args") or []
    if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
        raise bad("args must be a list of texts")
    given = shlex.split(str(body.get("args_str") or ""))
    runtype = body.get("runtype") or ("args" if arguments or given else "ssh")
    if not isinstance(runtype, str) or not RUNTYPE.match(runtype):
        raise bad("unknown runtype")
    disk = DISK_GB_DEFAULT if body.get("disk") is None else number_of(body["disk"])
    if disk is None or disk <= 0:
        raise bad("disk must be a number of GB")
    return {
        "image": image,
        "env": dict(env),
        "onstart": onstart,
        "args": [*arguments, *given],
        "runtype": runtype,
        "disk": disk,
        "ssh_keys": [],
    }


def _program(details: dict[str, Any]) -> Program | None:
    """With SSH or Jupyter the cloud's own entry point lives on when the script ends; with
    ``args`` the container ends with its command. Images are not really there: without an entry
    point of the order's own there is nothing to run."""
    env = {name: text for name, text in details["env"].items() if not name.startswith("-")}
    if details["runtype"] != "args":
        script = details["onstart"]
        argv = ("/bin/sh", "-c", script) if script else ()
    else:
        entry = shlex.split(details["onstart"])
        argv = (*entry, *details["args"]) if entry else ()
    if not argv:
        return None
    ends = details["runtype"] == "args"
    return Program(argv, env, ends_machine=ends, id_variable="CONTAINER_ID")


def ports_of(details: dict[str, Any]) -> list[tuple[int, str]]:
    """The ports of a container that are reached from outside."""
    named = [PORT_FLAG.match(name) for name in details["env"]]
    found_ports = [(int(one.group(2)), one.group(3) or "tcp") for one in named if one]
    direct = "direc" in details["runtype"]
    return [(22, "tcp"), *found_ports] if direct else found_ports
