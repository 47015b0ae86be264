"""What is sent to Vast.ai to rent one machine. Pure."""

from __future__ import annotations

import base64
import gzip
import re
import shlex
from decimal import ROUND_CEILING, Decimal

from brain.adapters.clouds.vast.offers import GIB_IN_GB
from brain.clouds import CloudRefused, Container, Order
from kernel.money import NANO

SCRIPT_VARIABLE = "GANGLION_BOOT"
# One constant line: the script travels packed in a variable, since an on-start text of more than
# 4,048 characters is not taken, and so that no quoting of the cloud's can touch it.
START = f"""eval "$(printf %s "${SCRIPT_VARIABLE}" | base64 -d | gzip -d)\""""
SCRIPT_BYTES_MAX = 64 * 1024
DISK_GB_MIN = 8
BID_STEP = Decimal("0.000001")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
ONSTART_MAX = 4048  # characters
# Words of a docker login line, which Vast.ai writes together itself.
_LOGIN_WORD = re.compile(r"[A-Za-z0-9_./:@=+,%][A-Za-z0-9_./:@=+,%-]*\Z")
NO_LOGIN = (
    "Vast.ai is sent a registry's user and password only of letters, digits and _./:@=+,%- alone;"
    " use an access token."
)
TOO_LONG = f"Vast.ai takes a start command of at most {ONSTART_MAX} characters."


def order_body(order: Order) -> dict[str, object]:
    """The body of the create call. ``cancel_unavail``: what cannot start is not made at all."""
    return {
        "client_id": "me",
        "image": order.boot.image if order.container is None else order.container.image,
        "env": environment_of(order),
        "price": bid_of(order),
        "disk": disk_gb(order.disk_gib),
        "label": order.tag,
        "cancel_unavail": True,
        "force": False,
        **(start_of(order) if order.container is None else own_start_of(order, order.container)),
    }


def refuses(container: Container) -> str:
    """Why Vast.ai cannot run this as asked; "" = it can."""
    login = container.registry
    if login is not None:
        said = (login.server, login.username, login.password)
        if not all(_LOGIN_WORD.match(word) for word in said):
            return NO_LOGIN
    start = shlex.join((*container.command, *container.arguments))
    beside_ssh = container.shell and container.command
    return TOO_LONG if beside_ssh and len(start) > ONSTART_MAX else ""


def opens_shell(order: Order, container: Container) -> bool:
    """SSH takes the place of the entry point here: it is had only where the order says what is to
    run, which is then started beside it."""
    return bool(container.shell and order.ssh_public_keys and container.command)


def own_start_of(order: Order, container: Container) -> dict[str, object]:
    """How a renter's image is started: by its entry point or the one said, or by the cloud's with
    SSH and the command beside it. The credentials are for this instance alone."""
    why = refuses(container)
    if why:
        raise CloudRefused(why)
    login = container.registry
    words = f"-u {login.username} -p {login.password} {login.server}" if login else None
    if opens_shell(order, container):
        start = shlex.join((*container.command, *container.arguments))
        onstart = f"{_keys_of(order)}\n{start}"
        if len(onstart) > ONSTART_MAX:
            raise CloudRefused(f"{TOO_LONG} The account's SSH keys count.")
        return {"image_login": words, "runtype": "ssh_direc ssh_proxy", "onstart": onstart}
    entry, *rest = container.command or ("",)
    return {
        "image_login": words,
        "runtype": "args",
        "onstart": shlex.quote(entry) if entry else "",
        "args": [*rest, *container.arguments],
    }


def start_of(order: Order) -> dict[str, object]:
    """How the script is started. Without SSH it is the container's own command, in place of the
    image's entry point, and the container ends with it; ``onstart`` names the entry point then.
    With SSH the cloud's entry point takes that place, and runs ``onstart``."""
    if not order.ssh_public_keys:
        return {"runtype": "args", "onstart": "/bin/sh", "args": ["-c", START]}
    return {"runtype": "ssh_direc ssh_proxy", "onstart": f"{_keys_of(order)}\n{START}"}


def _keys_of(order: Order) -> str:
    keys = "\n".join(key.strip() for key in order.ssh_public_keys)
    return f"mkdir -p ~/.ssh; printf '%s\\n' {shlex.quote(keys)} >> ~/.ssh/authorized_keys"


def environment_of(order: Order) -> dict[str, str]:
    """Variables and docker's flags share one object here, so that names are looked at."""
    script = order.boot.script.encode()
    if len(script) > SCRIPT_BYTES_MAX:
        raise CloudRefused("The boot script is longer than Vast.ai takes.")
    given = order.boot.env if order.container is None else order.container.env
    for name in given:
        if not NAME.match(name):
            raise CloudRefused("A variable's name has letters, digits and _ only.")
    flags = {f"-p {port}:{port}": "1" for port in order.ports}
    if order.container is not None:
        return {**given, **flags}
    packed = base64.b64encode(gzip.compress(script, mtime=0)).decode()
    return {**given, SCRIPT_VARIABLE: packed, **flags}


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
