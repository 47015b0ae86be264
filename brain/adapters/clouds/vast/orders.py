"""What is sent to Vast.ai to rent one machine. Pure."""

from __future__ import annotations

import base64
import gzip
import re
import shlex
from decimal import ROUND_CEILING, Decimal

from brain.adapters.clouds.vast.offers import GIB_IN_GB
from brain.clouds import CloudRefused, Order
from kernel.money import NANO

SCRIPT_VARIABLE = "GANGLION_BOOT"
# One constant line: the script travels packed in a variable, since an on-start text of more than
# 4,048 characters is not taken, and so that no quoting of the cloud's can touch it.
START = f"""eval "$(printf %s "${SCRIPT_VARIABLE}" | base64 -d | gzip -d)\""""
SCRIPT_BYTES_MAX = 64 * 1024
DISK_GB_MIN = 8
BID_STEP = Decimal("0.000001")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def order_body(order: Order) -> dict[str, object]:
    """The body of the create call. ``cancel_unavail``: what cannot start is not made at all."""
    return {
        "client_id": "me",
        "image": order.boot.image,
        "env": environment_of(order),
        "price": bid_of(order),
        "disk": disk_gb(order.disk_gib),
        "label": order.tag,
        "cancel_unavail": True,
        "force": False,
        **start_of(order),
    }


def start_of(order: Order) -> dict[str, object]:
    """How the script is started. Without SSH it is the container's own command, in place of the
    image's entry point, and the container ends with it; ``onstart`` names the entry point then.
    With SSH the cloud's entry point takes that place, and runs ``onstart``."""
    if not order.ssh_public_keys:
        return {"runtype": "args", "onstart": "/bin/sh", "args": ["-c", START]}
    keys = "\n".join(key.strip() for key in order.ssh_public_keys)
    enter = f"mkdir -p ~/.ssh; printf '%s\\n' {shlex.quote(keys)} >> ~/.ssh/authorized_keys"
    return {"runtype": "ssh_direc ssh_proxy", "onstart": f"{enter}\n{START}"}


def environment_of(order: Order) -> dict[str, str]:
    """Variables and docker's flags share one object here, so that names are looked at."""
    script = order.boot.script.encode()
    if len(script) > SCRIPT_BYTES_MAX:
        raise CloudRefused("The boot script is longer than Vast.ai takes.")
    for name in order.boot.env:
        if not NAME.match(name):
            raise CloudRefused("A variable's name has letters, digits and _ only.")
    packed = base64.b64encode(gzip.compress(script, mtime=0)).decode()
    flags = {f"-p {port}:{port}": "1" for port in order.ports}
    return {**order.boot.env, SCRIPT_VARIABLE: packed, **flags}


def disk_gb(disk_gib: int) -> int:
    """Enough of the cloud's GB for so many GiB."""
    return max(DISK_GB_MIN, int((disk_gib * GIB_IN_GB).to_integral_value(ROUND_CEILING)))


def bid_of(order: Order) -> float | None:
    """Dollars an hour for the whole machine; ``None`` is on demand."""
    if not order.offer.spot:
        return None
    each = order.offer.price_nano if order.bid_nano is None else order.bid_nano
    dollars = Decimal(each * order.offer.gpus) / NANO
    return float(dollars.quantize(BID_STEP, ROUND_CEILING))
