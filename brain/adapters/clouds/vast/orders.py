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

ONSTART_LENGTH_MAX = 4000  # the cloud takes 4,048 characters
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
        "onstart": onstart_of(order),
        "runtype": "ssh_direc ssh_proxy" if order.ssh_public_keys else "ssh_proxy",
        "target_state": "running",
        "cancel_unavail": True,
        "force": False,
    }


def environment_of(order: Order) -> dict[str, str]:
    """Variables and docker's flags share one object here, so that names are looked at."""
    for name in order.boot.env:
        if not NAME.match(name):
            raise CloudRefused("A variable's name has letters, digits and _ only.")
    return {**order.boot.env, **{f"-p {port}:{port}": "1" for port in order.ports}}


def onstart_of(order: Order) -> str:
    """The boot script, packed if it is longer than the cloud takes."""
    keys = "".join(
        f"printf '%s\\n' {shlex.quote(key.strip())} >> ~/.ssh/authorized_keys\n"
        for key in order.ssh_public_keys
    )
    script = f"mkdir -p ~/.ssh\n{keys}{order.boot.script}" if keys else order.boot.script
    if len(script) <= ONSTART_LENGTH_MAX and script.isascii():
        return script
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    short = f'f="$(mktemp)"\necho {packed} | base64 -d | gzip -d > "$f"\n. "$f"\n'
    if len(short) > ONSTART_LENGTH_MAX:
        raise CloudRefused("The boot script is longer than Vast.ai takes.")
    return short


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
