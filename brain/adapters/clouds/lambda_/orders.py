"""What is sent to Lambda to rent one machine. Pure."""

from __future__ import annotations

import base64
import gzip
import re
import shlex

from brain.adapters.clouds.lambda_.offers import place_of
from brain.clouds import CloudRefused, Order

NAME_LENGTH_MAX = 64
USER_DATA_BYTES_MAX = 1_000_000
SCRIPT_VARIABLE = "GANGLION_BOOT"
START = f"""eval "$(printf %s "${SCRIPT_VARIABLE}" | base64 -d | gzip -d)\""""
# Docker itself fails with 125: it is not up yet, or the image did not come. The script's own
# end is final.
IN_CONTAINER = """\
run() {{
    docker run --rm --init --gpus all --shm-size 16g --entrypoint /bin/sh {env} {image} -c {start}
}}
tries=0
until run; do
    code=$?
    tries=$((tries + 1))
    [ "$code" -eq 125 ] && [ "$tries" -lt 20 ] || break
    sleep 15
done
if [ -d /run/systemd/system ]; then shutdown -h now; fi
"""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OURS = re.compile(r"([a-z0-9]+-[a-z0-9]+)-[0-9a-f]{32}-\d+\Z")


def key_name_of(tag: str) -> str:
    """The SSH key of the installation that the tag names: a launch must have exactly one."""
    ours = _OURS.match(tag)
    return ours.group(1) if ours else "ganglion"


def order_body(order: Order) -> dict[str, object]:
    """The body of the launch call; raises ``CloudRefused`` for what the cloud would not take."""
    if order.container is not None:
        raise CloudRefused("Lambda rents virtual machines: it runs no image of a renter's own.")
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
    """A shell script is one of cloud-init's own formats: it is run once, as root.

    The machines come with Docker and NVIDIA's runtime, but with nothing of the engine: the boot
    script runs in a container of the order's image, as it does at clouds that boot containers.
    When it has ended for good the machine is switched off, so that nothing runs on unseen.
    """
    lines = ["#!/bin/sh", "set -u"]
    for name, value in order.boot.env.items():
        if not _VARIABLE.match(name):
            raise CloudRefused("A variable's name has letters, digits and _ only.")
        lines.append(f"export {name}={shlex.quote(value)}")
    packed = base64.b64encode(gzip.compress(order.boot.script.encode(), mtime=0)).decode()
    lines.append(f"export {SCRIPT_VARIABLE}={packed}")
    lines += [
        f"printf '%s\\n' {shlex.quote(key.strip())} >> /home/ubuntu/.ssh/authorized_keys"
        for key in order.ssh_public_keys
    ]
    script = "\n".join([*lines, _start_of(order)])
    if len(script.encode()) > USER_DATA_BYTES_MAX:
        raise CloudRefused("The boot script is longer than Lambda takes.")
    return script


def _start_of(order: Order) -> str:
    if not order.boot.image:
        return START
    # Named without their values: no command line of the machine shows one.
    env = " ".join(f"-e {name}" for name in (*order.boot.env, SCRIPT_VARIABLE))
    return IN_CONTAINER.format(
        env=env, image=shlex.quote(order.boot.image), start=shlex.quote(START)
    )
