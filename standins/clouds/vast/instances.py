"""Instances: how they are told, page by page or alone, and what can be asked of them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace
from typing import Any

from kernel.clock import NS
from kernel.money import NANO
from standins.clouds.machine import Machine, State
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Seen
from standins.clouds.shell import Answer, as_json
from standins.clouds.vast.desk import Call, Desk, Says, bad, dollars, success
from standins.clouds.vast.market import fits, host_row, number_of, sort
from standins.clouds.vast.orders import LABEL_LENGTH_MAX, ports_of

PAGE_MAX = 25
BID_LEAST, BID_MOST = 0.001, 32.0
MANY_MAX = 64
COMMAND_LENGTH_MAX = 512
LOG_LINES_MAX = 10_000
BY_ID = [{"col": "id", "dir": "asc"}]
UNAVAILABLE = "Required resources are currently unavailable, state change queued."
NEW, GONE_SOON = "unloaded", "unloaded"
# (actual, intended, current, next), as an instance tells its states.
STATES: dict[State, tuple[str | None, str, str, str]] = {
    State.ACCEPTED: (None, "running", NEW, "running"),
    State.BOOTING: ("loading", "running", "running", "running"),
    State.RUNNING: ("running", "running", "running", "running"),
    State.STOPPED: ("stopped", "stopped", "stopped", "stopped"),
    State.INTERRUPTED: ("stopped", "stopped", "stopped", "stopped"),
    State.FAILED: ("created", "running", "running", "running"),
    State.TERMINATING: ("exited", "stopped", "running", GONE_SOON),
    State.GONE: ("exited", "stopped", "stopped", GONE_SOON),
}
BROKEN = "Error: OCI runtime create failed: container_linux.go: starting process caused: {}"


# Of a machine that no order of this API made, such as a test's.
BARE: dict[str, Any] = {
    "image": "scratch",
    "env": {},
    "onstart": "",
    "args": [],
    "runtype": "args",
    "disk": 10.0,
}


# --- telling ----------------------------------------------------------------------------------


def row(desk: Desk, seen: Seen) -> dict[str, Any]:
    """One instance, with its host's fields."""
    machine = seen.machine
    details = BARE | machine.details
    actual, meant, now, then = STATES[seen.state]
    if seen.state == State.STOPPED and machine.why.startswith("its program ended"):
        actual, meant, now, then = "exited", "running", "running", "running"
    gpu_cost = dollars(machine.gpu_rate_nano)
    disk_cost = dollars(machine.disk_rate_nano)
    began = machine.made_ns
    up = machine.up_ns
    shown = {
        "id": int(machine.machine_id),
        "label": machine.tag or None,
        "actual_status": actual,
        "intended_status": meant,
        "cur_state": now,
        "next_state": then,
        "status_msg": _said(machine, seen.state),
        "is_bid": machine.spot,
        "min_bid": None if machine.stock.bid_nano is None else dollars(machine.stock.bid_nano),
        "num_gpus": machine.rental.gpus,
        "gpu_totalram": machine.stock.vram_mib * machine.rental.gpus,
        "gpu_frac": machine.rental.gpus / max(machine.stock.capacity, 1),
        "cpu_cores_effective": machine.stock.vcpus,
        "dph_base": gpu_cost,
        "dph_total": gpu_cost + disk_cost,
        "storage_total_cost": disk_cost,
        "disk_space": details["disk"],
        "disk_usage": -1.0,
        "disk_util": -1.0,
        "gpu_util": 0.0 if seen.state == State.RUNNING else None,
        "gpu_temp": 41.0 if seen.state == State.RUNNING else None,
        "cpu_util": None,
        "mem_usage": None,
        "mem_limit": machine.stock.ram_gib,
        "vmem_usage": None,
        "image_uuid": details["image"],
        "image_runtype": details["runtype"],
        "image_args": details["args"],
        "extra_env": [[name, text] for name, text in details["env"].items()],
        "onstart": details["onstart"] or None,
        "ssh_idx": "1",
        "ssh_host": "ssh1.stand-in.invalid",
        "ssh_port": 10_000 + int(machine.machine_id) % 50_000,
        "jupyter_token": "0" * 64,
        "start_date": desk.seconds(began),
        "end_date": desk.seconds(began + 30 * 86_400 * NS),
        "uptime_mins": None if up is None else (desk.world.now_ns - up) / NS / 60,
        "template_id": None,
        "template_hash_id": None,
        "template_name": None,
        "volume_info": [],
        "local_ipaddrs": "127.0.0.1 ",
        "public_ipaddr": "127.0.0.1 \n",  # with the blanks that it really comes with
        "ports": _ports(machine) if seen.state == State.RUNNING else {},
        "direct_port_start": -1,
        "direct_port_end": -1,
    }
    return host_row(machine.stock) | shown


def _said(machine: Machine, state: State) -> str | None:
    if state == State.FAILED:
        return BROKEN.format(machine.why)
    if state == State.RUNNING:
        return f"success, running {machine.details.get('image', BARE['image'])}"
    return machine.why or None


def _ports(machine: Machine) -> dict[str, list[dict[str, str]]]:
    """Docker's map, though the published specification says a list of numbers."""
    first = 20_000 + int(machine.machine_id) % 40_000
    return {
        f"{port}/{kind}": [{"HostIp": "0.0.0.0", "HostPort": str(first + place)}]
        for place, (port, kind) in enumerate(ports_of(BARE | machine.details))
    }


def show(desk: Desk, call: Call) -> Answer:
    """One object under the plural name; null where there is none."""
    try:
        seen = desk.world.get(call.machine_id)
    except Refused as refused:
        if refused.trouble != Trouble.MISSING:
            raise
        return as_json({"instances": None})
    return as_json({"instances": row(desk, seen)})


def list_old(desk: Desk, call: Call) -> Answer:
    """GET /instances of v0: all at once; no client uses it any more."""
    return as_json({"instances": [row(desk, seen) for seen in desk.world.listing()]})


def list_page(desk: Desk, call: Call) -> Answer:
    """GET /api/v1/instances/: at most 25 rows, and the token of the next page."""
    filters = _json_of(call, "select_filters", {})
    order = _json_of(call, "order_by", BY_ID)
    columns = _json_of(call, "select_cols", ["*"])
    asked = number_of(call.request.one("limit") or PAGE_MAX)
    if asked is None or not isinstance(filters, dict) or not isinstance(columns, list):
        raise bad("limit is a number, select_filters an object, select_cols a list")
    size = max(1, min(int(asked), PAGE_MAX))
    rows = [one for one in (row(desk, seen) for seen in desk.world.listing()) if fits(one, filters)]
    sort(rows, [*order, *BY_ID] if isinstance(order, list) else order)
    rest = _after(rows, call.request.one("after_token"), by_id=order == BY_ID)
    page = rest[:size]
    more = len(rest) > size
    return success(
        instances=[_columns(one, columns) for one in page],
        instances_found=len(page),
        total_instances=len(rows),
        label_counts=dict(Counter(one["label"] or "" for one in rows)),
        next_token=_token(page[-1]["id"], len(rows) - len(rest) + size) if more else None,
    )


def _json_of(call: Call, name: str, otherwise: object) -> object:
    text = call.request.one(name)
    try:
        return json.loads(text) if text else otherwise
    except ValueError as wrong:
        raise bad(f"{name} is not JSON") from wrong


def _columns(one: dict[str, Any], columns: list[object]) -> dict[str, Any]:
    return one if "*" in columns else {str(name): one.get(str(name)) for name in columns}


def _token(last_id: int, place: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"values": [last_id, place]}).encode()).decode()


def _after(rows: list[dict[str, Any]], token: str, *, by_id: bool) -> list[dict[str, Any]]:
    """In the order of ids a page begins after the last id, whatever has gone meanwhile."""
    if not token:
        return rows
    try:
        last_id, place = json.loads(base64.urlsafe_b64decode(token))["values"]
    except (ValueError, KeyError, TypeError) as wrong:
        raise bad("after_token is none of ours") from wrong
    return [one for one in rows if one["id"] > last_id] if by_id else rows[int(place) :]


def filters(desk: Desk, call: Call) -> Answer:
    rows = [row(desk, seen) for seen in desk.world.listing()]
    names = ("actual_status", "verification", "gpu_name")
    return success(filters=[{name: one[name] for name in names} for one in rows])


# --- asking -----------------------------------------------------------------------------------


def change(desk: Desk, call: Call) -> Answer:
    """PUT /instances/{id}/: its state or its label."""
    return _changed(desk, call.machine_id, call.body)


def change_many(desk: Desk, call: Call) -> Answer:
    for machine_id in _ids(call, "ids"):
        _changed(desk, machine_id, call.body)
    return success()


def destroy(desk: Desk, call: Call) -> Answer:
    desk.world.terminate(call.machine_id)
    return success(msg=f"Instance {call.machine_id} destroyed.")


def destroy_many(desk: Desk, call: Call) -> Answer:
    for machine_id in _ids(call, "instance_ids"):
        desk.world.terminate(machine_id)
    return success(msg="Instances destroyed.")


def reboot(desk: Desk, call: Call) -> Answer:
    """Stops and starts it, its GPU kept."""
    machine = desk.world.get(call.machine_id).machine
    if machine.state != State.RUNNING:
        return as_json({"success": False, "error": "not_running", "msg": "It does not run."})
    desk.world.stop(call.machine_id)
    desk.world.start(call.machine_id)
    return success()


def bid(desk: Desk, call: Call) -> Answer:
    """A bid below the host's least one stops the machine; a good one starts it again."""
    offered = number_of(call.body.get("price"))
    machine = desk.world.get(call.machine_id).machine
    if not machine.spot:
        raise Says(400, "invalid_args", "This instance is not interruptible.")
    least = machine.stock.bid_nano or 0
    if offered is None:  # without a price: one that wins
        offered = dollars(least * machine.rental.gpus)
    if not BID_LEAST <= offered <= BID_MOST:
        raise Says(400, "invalid_price", f"price must be {BID_LEAST} to {BID_MOST}")
    each = int(offered * NANO) // machine.rental.gpus
    machine.rental = replace(machine.rental, bid_nano=each)
    if each < least and machine.state in {State.ACCEPTED, State.BOOTING, State.RUNNING}:
        desk.world.interrupt(machine.machine_id, "outbid")
    elif each >= least and machine.state == State.INTERRUPTED:
        desk.world.start(machine.machine_id)
    return success()


def execute(desk: Desk, call: Call) -> Answer:
    """Only ls, du and rm, and nothing is run here: the answer says so."""
    command = call.body.get("command")
    if not isinstance(command, str) or not 0 < len(command) <= COMMAND_LENGTH_MAX:
        raise bad(f"command is a text of at most {COMMAND_LENGTH_MAX} characters")
    if command.split()[0] not in {"ls", "du", "rm"}:
        raise Says(400, "invalid_args", "Only ls, du and rm can be executed.")
    desk.world.get(call.machine_id)
    text = f"{command}\nThe stand-in runs no commands.\n"
    url = desk.keep_result(call.request, text)
    return success(result_url=url, writeable_path="/var/lib/docker/", msg="Command queued.")


def logs(desk: Desk, call: Call) -> Answer:
    """What the start script wrote, if the stand-in really runs it."""
    machine = desk.world.get(call.machine_id).machine
    lines = number_of(call.body.get("tail", "1000"))
    if lines is None or lines < 1:
        raise bad("tail is a number of lines")
    launcher = desk.world.launcher
    most = min(int(lines), LOG_LINES_MAX)
    found = launcher.output(machine.machine_id, most) if launcher else []
    wanted = call.body.get("filter")
    kept = [line for line in found if not wanted or str(wanted) in line]
    return success(result_url=desk.keep_result(call.request, "\n".join(kept) + "\n"))


def _changed(desk: Desk, machine_id: str, body: dict[str, Any]) -> Answer:
    label, state = body.get("label"), body.get("state")
    if label is not None:
        if not isinstance(label, str) or len(label) > LABEL_LENGTH_MAX:
            raise bad(f"label is a text of at most {LABEL_LENGTH_MAX} characters")
        desk.world.get(machine_id).machine.tag = label
        return success()
    if state not in {"running", "stopped"}:
        raise bad("state must be running or stopped")
    try:
        desk.world.start(machine_id) if state == "running" else desk.world.stop(machine_id)
    except Refused as refused:
        if refused.trouble == Trouble.NO_CAPACITY:
            said = {"success": False, "error": "resources_unavailable", "msg": UNAVAILABLE}
            return as_json(said)
        if refused.trouble != Trouble.CONFLICT:
            raise
    return success()  # also where it is so already


def _ids(call: Call, name: str) -> list[str]:
    ids = call.body.get(name)
    if not isinstance(ids, list) or not 0 < len(ids) <= MANY_MAX:
        raise bad(f"{name} must be a list of 1 to {MANY_MAX} ids")
    return [str(one) for one in ids]
