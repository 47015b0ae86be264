"""Who the command line is: address, account and tokens, in one file that only its owner reads."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cli.faults import CliError
from cli.settings import RunnerSettings


@dataclass(frozen=True)
class Credentials:
    """``access_token`` is of ``email``'s user and ends at ``expires_at`` (Unix seconds)."""

    brain_url: str = ""
    gateway_url: str = ""
    email: str = ""
    access_token: str = ""
    expires_at: int = 0
    api_key: str = ""


def places(settings: RunnerSettings) -> list[Path]:
    """Where credentials may lie, the first that exists counts."""
    if settings.ganglion_home is not None:
        return [settings.home / "credentials"]
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [own / "ganglion" / "credentials", settings.home / "credentials"]


def load(settings: RunnerSettings) -> Credentials:
    """The saved credentials, or empty ones."""
    for place in places(settings):
        try:
            saved = json.loads(place.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            raise CliError(
                f"The credentials in {place} cannot be read: {problem}.",
                "Remove the file, then run: ganglion login",
            ) from None
        known = {field.name for field in fields(Credentials)}
        if isinstance(saved, dict):
            return Credentials(**{name: saved[name] for name in known & saved.keys()})
    return Credentials()


def save(settings: RunnerSettings, credentials: Credentials) -> Path:
    """Write them where :func:`load` looks first; the place."""
    place = places(settings)[0]
    write_private(place, json.dumps(asdict(credentials), indent=1))
    return place


def write_private(place: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone from its first byte on."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pending = place.with_name(f"{place.name}.{os.getpid()}.new")
    handle = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    pending.rename(place)
