"""Debian packages unpacked into a folder of ours: nothing is installed, no service started.

``apt-get download`` needs no root. Where the system has no package lists (or old ones), a
private apt state under the same folder is used, so nothing of the user's system changes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.part import PARTS, CannotHave

DEBIAN = PARTS / "debian"
Say = Callable[[str], None]
DOWNLOAD_SECONDS_MAX = 600
UNPACK_SECONDS_MAX = 120

DOCKER = ["docker.io", "containerd", "runc", "libdevmapper1.02.1", "libseccomp2"]
BUSYBOX = ["busybox-static"]
REGISTRY = ["docker-registry"]
IPTABLES = [
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
]
ENGINE_PARTS = {"docker": DOCKER, "busybox": BUSYBOX, "registry": REGISTRY, "iptables": IPTABLES}


def is_ready() -> bool:
    """dockerd and what its tests use is unpacked, and this user may run it."""
    unpacked = all((DEBIAN / name / ".unpacked").exists() for name in ENGINE_PARTS)
    return unpacked and os.geteuid() == 0


def fetch(say: Say) -> None:
    """Unpack dockerd, busybox, a registry and iptables; ``CannotHave`` where dockerd could not
    be run anyway."""
    if os.geteuid() != 0:
        raise CannotHave("dockerd needs root")
    for name, packages in ENGINE_PARTS.items():
        debian(packages, DEBIAN / name, say)


def debian(packages: list[str], into: Path, say: Say | None = None) -> Path:
    """Unpack these packages into ``into`` and return it.

    May be repeated: what is complete is left as it is. Safe for several processes at once.
    Raises ``CannotHave`` where there is no apt-get, or a package cannot be fetched.
    """
    say = say or _say
    stamp = into / ".unpacked"
    wanted = "\n".join(sorted(packages))
    if _reads(stamp) == wanted:
        return into
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise CannotHave(f"{tool} is not on this machine; parts come from Debian packages.")
    into.parent.mkdir(parents=True, exist_ok=True)
    with _locked(into.with_name(into.name + ".lock")):
        if _reads(stamp) == wanted:
            return into
        draft = into.with_name(into.name + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        archives = draft / ".archives"
        archives.mkdir(parents=True)
        say(f"fetching {len(packages)} Debian packages: {' '.join(packages)}")
        _download(packages, archives, into.parent, say)
        for number, archive in enumerate(sorted(archives.glob("*.deb")), 1):
            say(f"  unpacking {number}/{len(packages)} {archive.name.split('_')[0]}")
            _run(["dpkg", "-x", str(archive), str(draft)], draft, UNPACK_SECONDS_MAX)
        shutil.rmtree(archives)
        (draft / ".unpacked").write_text(wanted)
        shutil.rmtree(into, ignore_errors=True)
        draft.rename(into)
    return into


def _download(packages: list[str], archives: Path, state_home: Path, say: Say) -> None:
    sandbox = ["-o", "APT::Sandbox::User="]
    fetch = ["apt-get", "-q", "download", *packages]
    try:
        _run([*fetch[:2], *sandbox, *fetch[2:]], archives, DOWNLOAD_SECONDS_MAX)
    except CannotHave:
        own = [*sandbox, *_private_state(state_home / ".apt")]
        say("  the system's package lists are absent or old; using lists of our own")
        with _locked(state_home / ".apt.lock"):  # apt refuses where another one holds its lists
            _run(["apt-get", "-q", *own, "update"], archives, DOWNLOAD_SECONDS_MAX)
            _run([*fetch[:2], *own, *fetch[2:]], archives, DOWNLOAD_SECONDS_MAX)


def _private_state(home: Path) -> list[str]:
    """Options that keep all that apt writes below ``home``."""
    for folder in ("state/lists/partial", "cache/archives/partial", "log"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "state" / "extended_states").touch()
    return [
        "-o",
        f"Dir::State={home}/state",
        "-o",
        f"Dir::State::Lists={home}/state/lists",
        "-o",
        "Dir::State::status=/var/lib/dpkg/status",
        "-o",
        f"Dir::Cache={home}/cache",
        "-o",
        f"Dir::Log={home}/log",
    ]


def _run(command: list[str], folder: Path, seconds: float) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotHave(f"`{' '.join(command[:3])} …` took more than {seconds:.0f} s.") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CannotHave(f"`{command[0]}` failed: {' '.join(last)}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reads(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """``python -m tools.debian_parts NAME PACKAGE…`` unpacks into .parts/debian/NAME."""
    if len(arguments) < 2:
        _say(str(main.__doc__))
        return 2
    try:
        sys.stdout.write(f"{debian(arguments[1:], DEBIAN / arguments[0])}\n")
    except CannotHave as missing:
        _say(str(missing))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
