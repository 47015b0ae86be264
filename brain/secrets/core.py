"""Pure decisions on secrets: what they may be called, how long they may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from kernel.errors import BadInput, Conflict

NAME_CHARS_MAX: Final = 64
VALUE_BYTES_MAX: Final = 32 << 10
SECRETS_MAX: Final = 100  # of an account
NAMES_MAX: Final = 32  # of one deployment or pod
ENVIRONMENT_BYTES_MAX: Final = 128 << 10  # of all that one lease is given

NAME_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
# What decides which program runs, which GPUs it sees, or what the agent itself is told.
_OURS = re.compile(r"(LD_|NVIDIA_|CUDA_VISIBLE|DOCKER_|GANGLION_|AGENT_)|(PATH|HOME|IFS|ENV)$")


class MissingSecret(Conflict):
    """Work asks for secrets that the account does not have (any more); set them, or take them
    off the list."""

    code = "secret_missing"


def check_name(name: str) -> str:
    """The name of an environment variable that is the owner's to set, or ``BadInput``."""
    if not _NAME.match(name):
        raise BadInput(
            f"A secret is named as an environment variable is: letters, digits and _, at most"
            f" {NAME_CHARS_MAX} characters, no digit first.",
            param="name",
        )
    if _OURS.match(name.upper()):
        raise BadInput(
            f"{name} is set by the engine or the agent; give the secret another name.",
            param="name",
        )
    return name


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order given. ``BadInput`` for a bad name or too many."""
    found = tuple(dict.fromkeys(check_name(name) for name in names))
    if len(found) > NAMES_MAX:
        raise BadInput(f"At most {NAMES_MAX} secrets are given to one lease.", param="secrets")
    return found


def check_value(value: str) -> bytes:
    """As it is sealed. ``BadInput`` where no environment variable can hold it; never quoted."""
    try:
        taken = value.encode()
    except UnicodeEncodeError:
        taken = b""
    if not 1 <= len(taken) <= VALUE_BYTES_MAX or b"\0" in taken:
        raise BadInput(
            f"A secret's value is text of 1 to {VALUE_BYTES_MAX} bytes without NUL.", param="value"
        )
    return taken


def missing(asked: Iterable[str], known: Iterable[str]) -> MissingSecret | None:
    """The refusal that names what is not there, or None."""
    absent = sorted(set(asked) - set(known))
    if not absent:
        return None
    listed = ", ".join(absent)
    return MissingSecret(
        f"The account has no secret {listed}. Set it: ganglion secret set {absent[0]}.",
        param="secrets",
    )


def check_environment(environment: Mapping[str, str]) -> None:
    """``BadInput`` when all values together are more than a start may be given."""
    size = sum(len(name) + len(value.encode()) + 2 for name, value in environment.items())
    if size > ENVIRONMENT_BYTES_MAX:
        raise BadInput(
            f"The secrets of one lease take {size} bytes; {ENVIRONMENT_BYTES_MAX} at most.",
            param="secrets",
        )
