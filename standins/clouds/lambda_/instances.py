"""Instances: launched, told, renamed, restarted, terminated. They cannot be stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from standins.clouds.lambda_.cloud_init import program_of
from standins.clouds.lambda_.desk import Call, Desk, absent, bad, region, region_of, text_of, told
from standins.clouds.lambda_.types import instance_type
from standins.clouds.machine import Rental, State
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Seen
from standins.clouds.shell import Answer

NAME_LENGTH_MAX = 64
USER_DATA_BYTES_MAX = 1_000_000
IDS_MAX = 64
STATUS = {
    State.ACCEPTED: "booting",
    State.BOOTING: "booting",
    State.RUNNING: "active",
    State.STOPPED: "unhealthy",
    State.FAILED: "unhealthy",
    State.INTERRUPTED: "preempted",
    State.TERMINATING: "terminating",
    State.GONE: "terminated",
}
ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")


def row(desk: Desk, seen: Seen) -> dict[str, Any]:
    """One instance. What is not set is absent, not null; an address comes with the life."""
    machine, details = seen.machine, seen.machine.details
    status = STATUS[seen.state]
    shown: dict[str, Any] = {
        "id": machine.machine_id,
        "status": status,
        "ssh_key_names": details.get("ssh_key_names", ["emulated"]),
        "file_system_names": details.get("file_system_names", []),
        "region": region(machine.stock.region),
        "instance_type": instance_type(machine.stock),
        "actions": {name: _action(name, status) for name in ACTIONS},
    }
    if machine.tag:
        shown["name"] = machine.tag
    if details.get("hostname"):
        shown["hostname"] = details["hostname"]
    if details.get("tags"):
        shown["tags"] = details["tags"]
    if status == "active":
        shown |= {
            "ip": "127.0.0.1",
            "private_ip": "10.19.0.1",
            "jupyter_token": machine.machine_id,
            "jupyter_url": "https://jupyter.stand-in.invalid/",
        }
    return shown


def _action(name: str, status: str) -> dict[str, Any]:
    if status in {"terminating", "terminated"}:
        why = ("vm-is-terminating", "Instance is terminating.")
    elif status == "booting" and name != "terminate":
        why = ("vm-has-not-launched", "Instance has not launched yet.")
    else:
        return {"available": True}
    return {"available": False, "reason_code": why[0], "reason_description": why[1]}


def list_all(desk: Desk, call: Call) -> Answer:
    """All at once: there are no pages."""
    return told([row(desk, seen) for seen in desk.world.listing()])


def show(desk: Desk, call: Call) -> Answer:
    return told(row(desk, desk.world.get(call.place)))


def rename(desk: Desk, call: Call) -> Answer:
    seen = desk.world.get(call.place)
    name = text_of(call.body, "name", NAME_LENGTH_MAX)
    _check_free_name(desk, name)
    seen.machine.tag = name
    return told(row(desk, seen))


def launch(desk: Desk, call: Call) -> Answer:
    """Answers with the id alone; whether it comes up is told by the instance."""
    body = call.body
    place = region_of(body, "region_name")
    kind = text_of(body, "instance_type_name", 100)
    name = text_of(body, "name", NAME_LENGTH_MAX) if body.get("name") is not None else ""
    keys = _key_names(desk, body)
    user_data = body.get("user_data") or ""
    if not isinstance(user_data, str) or len(user_data.encode()) > USER_DATA_BYTES_MAX:
        raise bad("user_data must be a text of at most 1 MB.")
    stocks = [one for one in desk.world.stocks.values() if one.key.partition("@")[0] == kind]
    if not stocks:
        raise absent(f"Instance type {kind[:60]} does not exist.")
    stock = next((one for one in stocks if one.region == place), None)
    if stock is None:
        raise Refused(Trouble.NO_CAPACITY)
    _check_free_name(desk, name)
    rental = Rental(
        stock_key=stock.key,
        tag=name,
        gpus=stock.gpus,
        program=program_of(user_data),
        details={
            "ssh_key_names": keys,
            "file_system_names": _filesystem_names(desk, body, place),
            "hostname": str(body.get("hostname") or ""),
            "tags": body.get("tags") or [],
        },
    )
    machine = desk.world.create(rental)
    return told({"instance_ids": [machine.machine_id]})


def restart(desk: Desk, call: Call) -> Answer:
    """User data runs once in an instance's life: after this nothing of it runs any more."""
    seen = [desk.world.get(one) for one in _ids(call)]
    for one in seen:
        if one.machine.state != State.RUNNING:
            raise bad("Only an active instance can be restarted.")
        one.machine.rental = replace(one.machine.rental, program=None)
        desk.world.stop(one.machine.machine_id)
        desk.world.start(one.machine.machine_id)
    return told(
        {"restarted_instances": [row(desk, Seen(m.machine, m.machine.state)) for m in seen]}
    )


def terminate(desk: Desk, call: Call) -> Answer:
    """One unknown id refuses them all."""
    ids = _ids(call)
    known = desk.world.machines
    if any(one not in known or known[one].state == State.GONE for one in ids):
        raise absent("Instance does not exist.")
    ended = [desk.world.terminate(one) for one in ids]
    return told({"terminated_instances": [row(desk, Seen(one, one.state)) for one in ended]})


def _ids(call: Call) -> list[str]:
    ids = call.body.get("instance_ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= IDS_MAX:
        raise bad(f"instance_ids must be a list of 1 to {IDS_MAX} ids.")
    return [str(one) for one in ids]


def _key_names(desk: Desk, body: dict[str, Any]) -> list[str]:
    names = body.get("ssh_key_names")
    if not isinstance(names, list) or len(names) != 1:
        raise bad("Exactly one SSH key must be specified.")
    if not any(one["name"] == names[0] for one in desk.ssh_keys.values()):
        raise absent("The SSH key does not exist.")
    return [str(names[0])]


def _filesystem_names(desk: Desk, body: dict[str, Any], place: str) -> list[str]:
    names = body.get("file_system_names") or []
    for name in names:
        found = next((one for one in desk.filesystems.values() if one["name"] == name), None)
        if found is None:
            raise absent("The filesystem does not exist.")
        if found["region"]["name"] != place:
            raise Refused(Trouble.CONFLICT, "The filesystem is in another region.")
    return list(names)


def _check_free_name(desk: Desk, name: str) -> None:
    if name and any(one.tag == name for one in desk.world.alive()):
        raise bad("An instance with this name already exists.")
