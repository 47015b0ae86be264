"""The home folder: one run at a time, secrets made once, and what a run tells others."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.credentials import write_private
from cli.faults import CliError

MADE_ONCE = {
    "JWT_SECRET_KEY": 64,
    "MASTER_KEY": 32,
    "GATEWAY_TOKEN": 32,
    "INSTALLATION_ID": 8,
    "ADMIN_PASSWORD": 16,
    "PROVIDER_PASSWORD": 16,
    "DEMO_PASSWORD": 16,
}


class Home:
    """``folder/``: postgres, valkey, logs, agent, gateway, run, secrets, state, lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home for this process; the kernel frees it however we end.

        Raises ``CliError`` when another run holds it or the folder cannot be used.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            # Inherited by nobody: a child that outlived us would hold the lock.
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise CliError(
                f"{self.folder} cannot be used: {problem.strerror}.",
                "Set GANGLION_HOME to a folder of yours on a disk with space.",
            ) from None
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = self.state()
            where = f", {state['brain_url']}" if "brain_url" in state else ""
            raise CliError(
                f"Ganglion already runs on {self.folder} (process {state.get('pid', '?')}{where}).",
                "Stop that one first, or set GANGLION_HOME to another folder.",
                code="already_running",
            ) from None
        self.forget_state()

    def is_held(self) -> bool:
        """Whether a run holds this home now."""
        try:
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def secrets(self) -> dict[str, str]:
        """The secrets of this home, made at the first call and kept."""
        place = self.folder / "secrets.json"
        known = _read(place)
        missing = {n: secrets.token_hex(size) for n, size in MADE_ONCE.items() if n not in known}
        if missing:
            known = {**known, **missing}
            write_private(place, json.dumps(known, indent=1))
        return {str(name): str(value) for name, value in known.items()}

    def keep_secret(self, name: str, value: str) -> None:
        write_private(
            self.folder / "secrets.json", json.dumps({**self.secrets(), name: value}, indent=1)
        )

    def state(self) -> dict[str, Any]:
        """What the present (or last) run said of itself; empty when it said nothing."""
        try:
            return _read(self.folder / "state.json")
        except CliError:
            return {}

    def tell_state(self, state: Mapping[str, Any]) -> None:
        write_private(self.folder / "state.json", json.dumps(state, indent=1))

    def forget_state(self) -> None:
        (self.folder / "state.json").unlink(missing_ok=True)


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise CliError(f"{place} cannot be read: {problem}.", "Mend it or move it away.") from None
    if not isinstance(found, dict):
        raise CliError(f"{place} does not hold a JSON object.", "Mend it or move it away.")
    return found
