"""Pure decisions on pods and volumes: what may be asked for, what they are called, what is owed."""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import PodId

PORTS_MAX: Final = 16
WORDS_MAX: Final = 64  # of a command, and of its arguments
WORD_CHARS_MAX: Final = 4096
ENVIRONMENT_MAX: Final = 128
ENVIRONMENT_BYTES_MAX: Final = 128 << 10
VOLUMES_OF_A_POD_MAX: Final = 8
VOLUME_GIB_MAX: Final = 10_240
DISK_GIB_MAX: Final = 2_048
GPUS_MAX: Final = 16
IMAGE_CHARS_MAX: Final = 500
SLUG_BYTES: Final = 5
GAP_NS: Final = 120 * NS  # a volume not seen for longer was not there, as far as the bill goes
BILL_NS: Final = 3600 * NS
DOCKER_HUB: Final = "docker.io"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
# Which GPUs a container sees is the lease's to say.
_OURS = re.compile(r"(NVIDIA_|GANGLION_)")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_IMAGE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z",
    re.ASCII,
)
_SERVER = re.compile(rf"{_HOST}\Z")
_RESERVED_PATHS = ("/proc", "/sys", "/dev", "/run", "/etc", "/bin", "/sbin", "/lib", "/lib64")
_PATH = re.compile(r"/[\x21-\x39\x3b-\x7e]{1,254}\Z")  # printable, no space and no colon


def slug_of(pod_id: PodId) -> str:
    """Its name in host names: a DNS label, short, of the part of the id that is chance."""
    chance = pod_id.uuid.bytes[-SLUG_BYTES:]
    return "pod-" + base64.b32encode(chance).decode().lower()


def check_name(name: str) -> str:
    """A name of the owner's: lower case, digits and dashes, as in a host name."""
    if not _NAME.match(name):
        raise BadInput(
            "A name has 1 to 63 lower-case letters, digits and dashes, and no dash at its ends.",
            param="name",
        )
    return name


@dataclass(frozen=True)
class Image:
    """``server`` is where it is pulled from, ``docker.io`` where none is named."""

    reference: str
    server: str


def read_image(text: str) -> Image:
    """An image reference as Docker reads it, or ``BadInput``."""
    found = _IMAGE.match(text) if len(text) <= IMAGE_CHARS_MAX else None
    if found is None:
        raise BadInput(
            "image must be a reference such as ubuntu:24.04 or ghcr.io/owner/name:tag,"
            " with the repository in lower case.",
            param="image",
        )
    host = found["host"] or ""
    names_a_server = "." in host or ":" in host or host == "localhost"
    return Image(text, _server(host) if names_a_server else DOCKER_HUB)


def check_server(text: str) -> str:
    """A registry's host, with its port if it has one, or ``BadInput``."""
    if not _SERVER.match(text) or len(text) > 255:
        raise BadInput(
            "server must be a registry's host, such as ghcr.io or registry.example.com:5000,"
            " without https:// and path.",
            param="server",
        )
    return _server(text)


def _server(host: str) -> str:
    lower = host.lower()
    return DOCKER_HUB if lower in {"index.docker.io", "registry-1.docker.io"} else lower


def check_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """``BadInput`` naming the first variable that cannot be set. Values are never quoted."""
    if len(environment) > ENVIRONMENT_MAX:
        raise BadInput(f"At most {ENVIRONMENT_MAX} variables can be set.", param="env")
    size = 0
    for name, value in environment.items():
        if not _ENVIRONMENT.match(name):
            raise BadInput(
                f"{name[:60]!r} is no name of a variable: letters, digits and _, no digit first.",
                param="env",
            )
        if _OURS.match(name.upper()):
            raise BadInput(f"{name} is set by the engine; leave it out.", param="env")
        if "\0" in value:
            raise BadInput(f"The value of {name} has a NUL in it.", param="env")
        size += len(name) + len(value.encode("utf-8", "surrogatepass")) + 2
    if size > ENVIRONMENT_BYTES_MAX:
        raise BadInput(
            f"All variables take {size} bytes; {ENVIRONMENT_BYTES_MAX} at most.", param="env"
        )
    return dict(environment)


def check_ports(ports: Sequence[int]) -> list[int]:
    """Each once, 1 to 65535, at most sixteen; in rising order."""
    if len(set(ports)) != len(ports):
        raise BadInput("Each port can be named once.", param="ports")
    if len(ports) > PORTS_MAX:
        raise BadInput(f"At most {PORTS_MAX} ports can be reached.", param="ports")
    if any(not 1 <= port <= 65535 for port in ports):
        raise BadInput("A port lies between 1 and 65535.", param="ports")
    return sorted(ports)


def check_words(words: Sequence[str], param: str) -> list[str]:
    """Of a command or its arguments."""
    if len(words) > WORDS_MAX:
        raise BadInput(f"{param} has at most {WORDS_MAX} words.", param=param)
    if any(len(word) > WORD_CHARS_MAX or "\0" in word for word in words):
        raise BadInput(
            f"A word of {param} has at most {WORD_CHARS_MAX} characters and no NUL.", param=param
        )
    return list(words)


def check_paths(paths: Sequence[str]) -> list[str]:
    """Where volumes are mounted: absolute, each another, none over what the system needs."""
    checked = [_check_path(path) for path in paths]
    if len(set(checked)) != len(checked):
        raise BadInput("Each volume needs a path of its own.", param="volumes")
    if len(checked) > VOLUMES_OF_A_POD_MAX:
        raise BadInput(f"A pod has at most {VOLUMES_OF_A_POD_MAX} volumes.", param="volumes")
    return checked


def _check_path(path: str) -> str:
    plain = path.rstrip("/")
    if not _PATH.match(plain) or posixpath.normpath(plain) != plain or plain.startswith("//"):
        raise BadInput(
            "A volume's path is absolute and plain, such as /data: no .., no //, no spaces, no"
            " colon, and not / itself.",
            param="volumes",
        )
    for taken in _RESERVED_PATHS:
        if plain == taken or plain.startswith(taken + "/"):
            raise BadInput(
                f"A volume cannot lie on {taken}; choose a path such as /data.", param="volumes"
            )
    return plain


@dataclass(frozen=True)
class Kept:
    """A volume's time that is not billed yet: ``owed_ns`` of stretches that ended, and what it
    was seen for since ``from_ns``. ``begun_ns`` is where the first of it began."""

    begun_ns: int
    owed_ns: int
    from_ns: int
    seen_ns: int

    @property
    def unbilled_ns(self) -> int:
        return self.owed_ns + self.seen_ns - self.from_ns


def found_at(at_ns: int) -> Kept:
    """Seen for the first time."""
    return Kept(at_ns, 0, at_ns, at_ns)


def seen_at(kept: Kept, at_ns: int) -> Kept:
    """Seen again. After a long silence of its node a new stretch begins: what lies between is
    nobody's to pay. Older news changes nothing."""
    if at_ns <= kept.seen_ns:
        return kept
    if at_ns - kept.seen_ns <= GAP_NS:
        return replace(kept, seen_ns=at_ns)
    owed = kept.owed_ns + kept.seen_ns - kept.from_ns
    return Kept(kept.begun_ns, owed, at_ns, at_ns)


def billed(kept: Kept) -> Kept:
    """What was owed is on the bill; the next stretch begins where this one ended."""
    return Kept(kept.seen_ns, 0, kept.seen_ns, kept.seen_ns)


def bill_due(kept: Kept, *, ends: bool) -> bool:
    """Once an hour, and when the volume or who pays for it changes."""
    return kept.unbilled_ns > 0 and (ends or kept.seen_ns - kept.begun_ns >= BILL_NS)
