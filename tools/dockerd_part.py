"""The part "dockerd": a Docker engine and a static busybox, unpacked from Debian's packages."""

from __future__ import annotations

from collections.abc import Callable

from tools import debian_parts
from tools.part import CannotHave

FOLDERS = {"docker": debian_parts.DOCKER, "busybox": debian_parts.BUSYBOX}


def is_ready() -> bool:
    return all((debian_parts.PARTS / name / ".unpacked").exists() for name in FOLDERS)


def fetch(say: Callable[[str], None]) -> None:
    """Unpack them, or raise ``CannotHave``. May be repeated."""
    for name, packages in FOLDERS.items():
        say(f"unpacks {name}")
        try:
            debian_parts.debian(packages, debian_parts.PARTS / name)
        except debian_parts.PartMissing as missing:
            raise CannotHave(str(missing)) from missing
