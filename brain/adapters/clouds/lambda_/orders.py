"""What is sent to Lambda to rent one machine. Pure."""

from __future__ import annotations

import re
import shlex

from brain.adapters.clouds.lambda_.offers import place_of
from brain.clouds import CloudRefused, Order

NAME_LENGTH_MAX = 64
USER_DATA_BYTES_MAX = 1_000_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OURS = re.compile(r"([a-z0-9]+-[a-z0-9]+)-[0-9a-f]{32}-\d+\Z")


def key_name_of(tag: str) -> str:
    """The SSH key of the installation that the tag names: a launch must have exactly one."""
    ours = _OURS.match(tag)
    return ours.group(1) if ours else "ganglion"


def order_body(order: Order) -> dict[str, object]:
    """The body of the launch call; raises ``CloudRefused`` for what the cloud would not take."""
    try:
        type_name, region = place_of(order.offer.key)
    except ValueError:
        raise CloudRefused("This is not an offer of Lambda.") from None
    if len(order.tag) > NAME_LENGTH_MAX:
        raise CloudRefused(f"A name has at most {NAME_LENGTH_MAX} characters.")
    return {
        "region_name": region,
        "instance_type_name": type_name,
        "ssh_key_names": [key_name_of(order.tag)],
        "name": order.tag,
        "user_data": user_data_of(order),
    }


def user_data_of(order: Order) -> str:
    """A shell script is one of cloud-init's own formats: it is run once, as root."""
    lines = ["#!/bin/sh"]
    for name, value in order.boot.env.items():
        if not _VARIABLE.match(name):
            raise CloudRefused("A variable's name has letters, digits and _ only.")
        lines.append(f"export {name}={shlex.quote(value)}")
    lines += [
        f"printf '%s\\n' {shlex.quote(key.strip())} >> /home/ubuntu/.ssh/authorized_keys"
        for key in order.ssh_public_keys
    ]
    script = "\n".join([*lines, order.boot.script])
    if len(script.encode()) > USER_DATA_BYTES_MAX:
        raise CloudRefused("The boot script is longer than Lambda takes.")
    return script
