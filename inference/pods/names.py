"""What a Host header names: a port of a pod, or this front itself. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from kernel.errors import Malformed, NotFound

HOST_BYTES_MAX = 255
LABEL_MAX = 63
_HOST = re.compile(rb"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?\Z")
_LABEL = re.compile(r"(?P<pod>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)-(?P<port>[1-9][0-9]{0,4})\Z")
PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A port of a pod, as its URL says it."""

    slug: str
    port: int


@lru_cache(maxsize=4096)
def find(host: bytes, domain: str) -> Address | None:
    """The pod's port that ``host`` names; ``None`` where it is not below ``domain``.

    Raises ``Malformed`` for what is no host, ``NotFound`` for one of ours without that form.
    """
    found = _HOST.match(host) if len(host) <= HOST_BYTES_MAX else None
    if found is None:
        raise Malformed("The Host header does not name a host.")
    name = found["name"].decode("ascii").lower().removesuffix(".")
    label, dot, rest = name.partition(".")
    if not dot or rest != domain:
        if name.endswith("." + domain):
            raise NotFound(_form(domain), code="pod_not_found")
        return None
    parts = _LABEL.match(label) if len(label) <= LABEL_MAX else None
    if parts is None or int(parts["port"]) > PORT_MAX:
        raise NotFound(_form(domain), code="pod_not_found")
    return Address(parts["pod"], int(parts["port"]))


def _form(domain: str) -> str:
    return f"There is no pod at this name. A pod's port is at <pod>-<port>.{domain}."
