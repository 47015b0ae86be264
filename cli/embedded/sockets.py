"""A private folder whose path is short enough for Unix sockets."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

SOCKET_PATH_BYTES_MAX = 107
LONGEST_SOCKET_NAME = 24


def socket_folder(home: Path) -> Path:
    """``home/run``, or a short folder under the temporary one where the home lies too deep.

    Made with mode 0700 and checked to be ours: a folder under /tmp could have been laid there
    by somebody else, and what listens in it trusts everybody who reaches it.
    """
    wanted = home.absolute() / "run"
    if len(os.fsencode(wanted)) + 1 + LONGEST_SOCKET_NAME >= SOCKET_PATH_BYTES_MAX:
        name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
        wanted = Path(tempfile.gettempdir()) / f"ganglion-{os.getuid()}-{name}"
        if len(os.fsencode(wanted)) + 1 + LONGEST_SOCKET_NAME >= SOCKET_PATH_BYTES_MAX:
            wanted = Path("/tmp") / wanted.name  # noqa: S108  # checked below to be ours
    wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = wanted.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{wanted} belongs to somebody else; remove it or set TMPDIR.")
    wanted.chmod(0o700)
    return wanted
