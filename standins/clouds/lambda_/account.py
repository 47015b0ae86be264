"""The account's SSH keys, filesystems and events, and the images that there are."""

from __future__ import annotations

import base64
from typing import Any

from standins.clouds.lambda_.desk import (
    Call,
    Desk,
    Says,
    absent,
    bad,
    duplicate,
    region,
    region_of,
    text_of,
    told,
)
from standins.clouds.shell import Answer

KINDS = ("ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-")
NAME_LENGTH_MAX = 64
KEY_LENGTH_MAX = 4096
SOME_DAY_NS = 1_760_000_000_000_000_000
FAMILIES = (("lambda-stack-24-04", "Lambda Stack 24.04"), ("gpu-base-24-04", "GPU Base 24.04"))


def ssh_keys(desk: Desk, call: Call) -> Answer:
    return told(list(desk.ssh_keys.values()))


def add_ssh_key(desk: Desk, call: Call) -> Answer:
    """Without a public key the cloud makes both halves, and tells the private one now alone."""
    name = text_of(call.body, "name", NAME_LENGTH_MAX)
    if any(one["name"] == name for one in desk.ssh_keys.values()):
        raise bad("An SSH key with this name already exists.")  # told without the code for it
    made: dict[str, Any] = {"id": desk.new_id(), "name": name}
    if call.body.get("public_key") is None:
        noise = base64.b64encode(desk.world.chance.randbytes(51)).decode()
        made["public_key"] = f"ssh-ed25519 {noise} emulated"
        desk.ssh_keys[made["id"]] = dict(made)
        return told(made | {"private_key": "-----BEGIN EMULATED KEY-----\nopens nothing\n"})
    key = text_of(call.body, "public_key", KEY_LENGTH_MAX)
    if not key.startswith(KINDS):
        raise bad("public_key must be a public key.")
    made["public_key"] = key
    desk.ssh_keys[made["id"]] = made
    return told(made)


def remove_ssh_key(desk: Desk, call: Call) -> Answer:
    if call.place not in desk.ssh_keys:
        raise absent("The SSH key does not exist.")
    del desk.ssh_keys[call.place]
    return told({})


def filesystems(desk: Desk, call: Call) -> Answer:
    return told([_filesystem(desk, one) for one in desk.filesystems.values()])


def add_filesystem(desk: Desk, call: Call) -> Answer:
    name = text_of(call.body, "name", NAME_LENGTH_MAX)
    if any(one["name"] == name for one in desk.filesystems.values()):
        raise duplicate("A filesystem with this name already exists.")
    made: dict[str, Any] = {
        "id": desk.new_id(),
        "name": name,
        "mount_point": f"/lambda/nfs/{name}",
        "created": desk.iso(desk.world.now_ns),
        "created_by": {"id": "emulated", "email": "stand-in@example.org", "status": "active"},
        "region": region(region_of(call.body, "region")),
    }
    desk.filesystems[made["id"]] = made
    return told(_filesystem(desk, made))


def remove_filesystem(desk: Desk, call: Call) -> Answer:
    found = desk.filesystems.get(call.place)
    if found is None:
        raise absent("The filesystem does not exist.")
    if _is_in_use(desk, found):
        raise Says(400, "filesystems/filesystem-in-use", "The filesystem is in use.")
    del desk.filesystems[call.place]
    return told({"deleted_ids": [call.place]})


def images(desk: Desk, call: Call) -> Answer:
    """Two families, in every region that has machines."""
    places = sorted({one.region for one in desk.world.stocks.values() if one.region})
    return told(
        [
            {
                "id": f"{family}-{place}",
                "name": family,
                "description": words,
                "family": family,
                "version": "24.4.1",
                "architecture": "x86_64",
                "region": region(place),
                "created_time": desk.iso(SOME_DAY_NS),
                "updated_time": desk.iso(SOME_DAY_NS),
            }
            for family, words in FAMILIES
            for place in places
        ]
    )


def audit_events(desk: Desk, call: Call) -> Answer:
    return told({"events": [], "page_token": None})


def _filesystem(desk: Desk, one: dict[str, Any]) -> dict[str, Any]:
    return one | {"is_in_use": _is_in_use(desk, one), "bytes_used": 0}


def _is_in_use(desk: Desk, one: dict[str, Any]) -> bool:
    return any(one["name"] in m.details.get("file_system_names", []) for m in desk.world.alive())
