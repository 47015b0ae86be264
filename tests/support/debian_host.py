"""A host of its own inside this machine: a plain Debian 12 with its own processes and mounts.

Its files are a layer over the part "debian-root", in memory, and gone with it. Its network is
this machine's, so that a brain on the loopback address is reached.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.debian_root import ROOT as LOWER
from tools.parts import is_required, why_missing

# Init: it takes in orphans, as a host's first process does, and lives until it is killed.
INIT = "trap : TERM; while :; do sleep 3600 & wait; done"
MAKE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 layer "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay host -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
mount --rbind /sys "$2/root/sys"
mount -t tmpfs run "$2/root/run"
cp /etc/resolv.conf "$2/root/etc/resolv.conf"
echo ready
exec chroot "$2/root" /bin/sh -c "$3"
"""
START_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 300
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
}


@dataclass
class DebianHost:
    """A running host; ``run`` executes a shell command on it."""

    layer: Path
    process: subprocess.Popen[str]
    init: int = field(default=0)

    def run(
        self, command: str, *, text: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--"]
        return subprocess.run(
            [*enter, "chroot", str(self.layer / "root"), "/bin/sh", "-c", command],
            env={**ENVIRONMENT, **environment},
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def outside(self, command: str) -> str:
        """What a command says that sees this machine's files and the host's mounts."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--", "/bin/sh", "-c", command]
        done = subprocess.run(
            enter, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=True
        )
        return done.stdout

    def said(self, command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
        return done.stdout

    def files(self, *below: str) -> dict[str, str]:
        """Each file's path and its size, time and target: what a change would change."""
        listed = self.said(
            f"find {' '.join(below)} -printf '%p\\t%s %T@ %l\\n' 2>/dev/null || true"
        )
        return dict(line.split("\t") for line in listed.splitlines())

    def processes(self) -> list[str]:
        """The command lines of all that runs on it, but its init's and this look's own."""
        listed = self.said(
            "for p in /proc/[0-9]*; do [ -r $p/cmdline ] && tr '\\0' ' ' <$p/cmdline && echo; done"
        )
        ours = ("sleep 3600", "/bin/sh -c", "tr ")
        return [x for x in listed.splitlines() if x.strip() and not x.startswith(ours)]


@contextmanager
def debian_host() -> Iterator[DebianHost]:
    """Skips with the reason where this machine cannot have one."""
    missing = why_missing("debian-root")
    if missing:
        assert not is_required(), missing
        pytest.skip(missing)
    layer = Path(tempfile.mkdtemp(prefix="gng-host-"))
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
            *("/bin/sh", "-c", MAKE, "host", str(LOWER), str(layer), INIT),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line.strip() != "ready":
            process.wait(START_SECONDS_MAX)
            said = process.stderr.read() if process.stderr else ""
            assert not is_required(), said
            pytest.skip(f"no mounts of one's own here: {said.strip()}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        yield DebianHost(layer, process, int(children.split()[0]))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(START_SECONDS_MAX)
        process.communicate()
        os.rmdir(layer)
