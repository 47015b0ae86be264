"""A host's versions of the agent: which one runs, which is on trial, which were taken back.

Beside the launcher, and like it of nothing but Python 3.11. Every change is one step on the
disk, and each may be repeated after a death.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

BAD_KEPT = 20


@dataclass(frozen=True)
class Trial:
    """A version that has still to show that it works, and the one that it took over from."""

    to: str
    back: str
    starts: int = 0
    silent_seconds: float = 0.0  # in which the brain was there and did not hear it


class Root:
    """The folder of versions. Each file here is replaced in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {**_read_env(path / "agent.env")}
        self.home = Path(self.env.get("AGENT_HOME", "/var/lib/ganglion-agent"))

    def current(self) -> str:
        """The version that is started; empty when none is installed."""
        with suppress(OSError):
            return Path(os.readlink(self.path / "current")).name
        return ""

    def switch(self, sha256: str) -> None:
        draft = self.path / ".current"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("versions") / sha256)
        draft.replace(self.path / "current")

    def asked(self) -> str:
        """The version that the agent or the installer laid ready."""
        return read(self.path / "next").strip()

    def trial(self) -> Trial | None:
        found = _read_json(self.path / "trial.json")
        if not isinstance(found.get("to"), str):
            return None
        starts, silent = found.get("starts"), found.get("silent_seconds")
        return Trial(
            str(found["to"]),
            str(found.get("back")),
            starts if isinstance(starts, int) else 0,
            float(silent) if isinstance(silent, int | float) else 0.0,
        )

    def save_trial(self, trial: Trial) -> None:
        self.save("trial.json", asdict(trial))

    def bad(self) -> dict[str, str]:
        """Versions that were taken back, and why."""
        return {str(name): str(why) for name, why in _read_json(self.path / "bad.json").items()}

    def save(self, name: str, content: object) -> None:
        write(self.path / name, json.dumps(content))

    def drop(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def has(self, sha256: str) -> bool:
        return bool(sha256) and (self.path / "versions" / sha256 / "lib").is_dir()


def settle(root: Root) -> None:
    """Put right what a death left half done, and take up the version that was laid ready.

    The trial is written before the switch and the wish is removed after it, so that each step
    may be repeated.
    """
    trial, current, asked = root.trial(), root.current(), root.asked()
    if trial is not None and trial.to in root.bad():
        give_back(root, trial, root.bad()[trial.to])
        trial, current = None, root.current()
    if asked and asked != current and root.has(asked) and asked not in root.bad():
        if root.has(current):
            standing = trial.back if trial is not None and trial.to == current else current
            root.save_trial(Trial(asked, standing))
        root.switch(asked)
    elif trial is not None and trial.to != current:
        root.drop("trial.json")
    if asked:
        root.drop("next")


def give_back(root: Root, trial: Trial, reason: str) -> None:
    """The version before takes over again; this one's hash is tried no more."""
    bad = {**root.bad(), trial.to: reason}
    root.save("bad.json", dict(list(bad.items())[-BAD_KEPT:]))
    if root.has(trial.back):
        root.switch(trial.back)
    root.drop("trial.json")


def accept(root: Root, trial: Trial) -> None:
    """It works. Older versions go; the last one stays for work that was started from it."""
    root.drop("trial.json")
    for folder in (root.path / "versions").iterdir():
        if folder.name not in (trial.to, trial.back):
            shutil.rmtree(folder, ignore_errors=True)


def is_held(lock: Path) -> bool:
    """Whether a process has this lock now."""
    if not lock.exists():
        return False
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def write(path: Path, text: str) -> None:
    """Replace the file in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _read_json(path: Path) -> dict[str, object]:
    with suppress(ValueError):
        found = json.loads(read(path) or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def _read_env(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in read(path).splitlines() if "=" in line)
    return {name.strip(): value for name, value in pairs if not name.startswith("#")}
