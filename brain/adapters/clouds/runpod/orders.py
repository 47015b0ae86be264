"""What is sent to RunPod to rent one pod, for both of its interfaces. Pure."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass

from brain.clouds import CloudOffer, CloudRefused, Container, Order

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
SCRIPT_VARIABLE = "GANGLION_BOOT"
# One constant line, so that no quoting of RunPod's can touch the script, which travels packed in
# a variable. The image must run its arguments as a command.
START = f"""sh -c 'eval "$(printf %s "${SCRIPT_VARIABLE}" | base64 -d)"'"""
SCRIPT_BYTES_MAX = 64 * 1024
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
SSH_PORT = 22
NO_REGISTRY = (
    "RunPod takes a registry's password only into a list of the whole account, where it would stay"
    " beyond this pod; private images run on nodes."
)
NO_COMMAND = (
    "RunPod keeps the image's own entry point and takes arguments alone; give the words as"
    " arguments."
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What an offer's key says: which GPU, how many, in which of the two clouds and where."""

    tier: str
    gpu_id: str
    gpus: int
    data_centre: str = ""  # empty: wherever there is one

    @property
    def key(self) -> str:
        return "|".join((self.tier, self.gpu_id, str(self.gpus), self.data_centre))

    @staticmethod
    def of(offer: CloudOffer) -> Choice:
        parts = offer.key.split("|")
        if len(parts) != 4 or parts[0] not in {SECURE, COMMUNITY} or not parts[2].isdigit():
            raise CloudRefused("This is no offer of RunPod's.")
        return Choice(parts[0], parts[1], int(parts[2]), parts[3])


def rest_body(order: Order) -> dict[str, object]:
    """The body of ``POST /v2/pods``."""
    choice = Choice.of(order.offer)
    body: dict[str, object] = {
        "name": order.tag,
        "image": image_of(order),
        "cloud": choice.tier,
        "gpu": {"id": choice.gpu_id, "count": choice.gpus},
        "disk": order.disk_gib,
        "args": arguments_of(order),
        "env": environment_of(order),
        "ports": ports_of(order),
        "startSsh": bool(order.ssh_public_keys),
    }
    if choice.data_centre:
        body["dataCenterIds"] = [choice.data_centre]
    return body


def graphql_input(order: Order) -> dict[str, object]:
    """The input of ``podFindAndDeployOnDemand``."""
    choice = Choice.of(order.offer)
    variables = environment_of(order)
    fields: dict[str, object] = {
        "name": order.tag,
        "imageName": image_of(order),
        "cloudType": choice.tier,
        "gpuTypeId": choice.gpu_id,
        "gpuCount": choice.gpus,
        "containerDiskInGb": order.disk_gib,
        "volumeInGb": 0,
        "dockerArgs": arguments_of(order),
        "env": [{"key": name, "value": value} for name, value in variables.items()],
        "ports": ",".join(ports_of(order)),
        "startSsh": bool(order.ssh_public_keys),
    }
    if choice.data_centre:
        fields["dataCenterId"] = choice.data_centre
    return fields


def refuses(container: Container) -> str:
    """Why RunPod cannot run this as asked; "" = it can."""
    if container.registry is not None:
        return NO_REGISTRY
    return NO_COMMAND if container.command else ""


def image_of(order: Order) -> str:
    if order.container is None:
        return order.boot.image
    why = refuses(order.container)
    if why:
        raise CloudRefused(why)
    return order.container.image


def arguments_of(order: Order) -> str:
    """RunPod splits this text as a shell would."""
    return START if order.container is None else shlex.join(order.container.arguments)


def environment_of(order: Order) -> dict[str, str]:
    """The order's variables, the script, and the keys of those who may enter this one pod: given
    here, so that the account's own are not put in its place, and no renter's among those."""
    script = order.boot.script.encode()
    if len(script) > SCRIPT_BYTES_MAX:
        raise CloudRefused("The boot script is longer than a variable should be.")
    given = order.boot.env if order.container is None else order.container.env
    for name, value in given.items():
        if not NAME.match(name) or name == SCRIPT_VARIABLE or "\0" in value:
            raise CloudRefused("A variable's name or value cannot be given to a container.")
    keys = {"PUBLIC_KEY": "\n".join(order.ssh_public_keys)} if order.ssh_public_keys else {}
    if order.container is not None:
        return {**keys, **given}
    return {**given, **keys, SCRIPT_VARIABLE: base64.b64encode(script).decode()}


def ports_of(order: Order) -> list[str]:
    """HTTP goes through RunPod's proxy, which works on every host; SSH needs plain TCP."""
    ports = [f"{port}/http" for port in order.ports if port != SSH_PORT]
    has_ssh = order.ssh_public_keys or SSH_PORT in order.ports
    return [*ports, f"{SSH_PORT}/tcp"] if has_ssh else ports
