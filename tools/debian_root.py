"""The part "debian-root": a plain Debian 12 below .parts, as small as they come, with Python.

Made by debootstrap, which is itself only unpacked. Tests lay a writable layer over it for each
host that they need, so that it stays as it was made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from tools.debian_parts import DEBIAN, debian
from tools.part import PARTS, CannotHave, run_quietly

ROOT = DEBIAN / "root"
STAMP = DEBIAN / "root.made"
INCLUDE = "python3,ca-certificates"
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
SECONDS_MAX = 900
Say = Callable[[str], None]


def is_ready() -> bool:
    return STAMP.exists() and STAMP.read_text() == _mark() and os.geteuid() == 0


def fetch(say: Say) -> None:
    """Make it anew, or raise ``CannotHave``; a minute over a quick network."""
    if os.geteuid() != 0:
        raise CannotHave("a system's root can only be made by root")
    tools = debian(["debootstrap"], DEBIAN / "debootstrap", say)
    shutil.rmtree(ROOT, ignore_errors=True)
    STAMP.unlink(missing_ok=True)
    log = PARTS / "log" / "debian-root.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say("making a plain Debian 12 with Python")
    environment = f"DEBOOTSTRAP_DIR={tools}/usr/share/debootstrap"
    command = [
        *("env", environment, "/bin/sh", str(tools / "usr/sbin/debootstrap")),
        *("--variant=minbase", f"--include={INCLUDE}", SUITE, str(ROOT), MIRROR),
    ]
    run_quietly(command, log, seconds_max=SECONDS_MAX)
    shutil.rmtree(ROOT / "var/cache/apt/archives", ignore_errors=True)
    STAMP.write_text(_mark())


def _mark() -> str:
    return f"{SUITE} {INCLUDE}"
