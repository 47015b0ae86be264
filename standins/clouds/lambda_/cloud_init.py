"""User data as cloud-init takes it: a shell script, or #cloud-config with files and commands."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from standins.clouds.lambda_.desk import bad
from standins.clouds.machine import Program

DISK = "disk"  # the machine's folder that its absolute paths lie below


def program_of(user_data: str) -> Program | None:
    """What the machine runs once, as root, when it has come up. It stays up when that ends."""
    if not user_data.strip():
        return None
    if user_data.startswith("#!"):
        return Program(("/bin/sh", "-c", user_data), ends_machine=False)
    if not user_data.startswith("#cloud-config"):
        raise bad("user_data must be a script or #cloud-config.")
    try:
        config = yaml.safe_load(user_data) or {}
    except yaml.YAMLError as wrong:
        raise bad("user_data is not YAML.") from wrong
    if not isinstance(config, dict):
        raise bad("#cloud-config must be an object.")
    script = _script(config)
    return Program(("/bin/sh", "-c", script), ends_machine=False) if script else None


def _script(config: dict[str, Any]) -> str:
    """Files first, then the commands. A file's path is moved below the machine's own folder,
    where the commands find it too."""
    lines, paths = [], []
    for file in config.get("write_files") or []:
        path, content = str(file.get("path", "")), str(file.get("content", ""))
        if not path.startswith("/") or ".." in path:
            raise bad("A path of write_files must be absolute.")
        here = shlex.quote(f"./{DISK}{path}")
        lines.append(f"mkdir -p {shlex.quote(f'./{DISK}' + path.rpartition('/')[0])}")
        lines.append(f"printf '%s' {shlex.quote(content)} > {here}")
        if mode := file.get("permissions"):
            lines.append(f"chmod {shlex.quote(str(mode))} {here}")
        paths.append(path)
    for command in config.get("runcmd") or []:
        line = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
        for path in sorted(paths, key=len, reverse=True):
            line = line.replace(path, f"./{DISK}{path}")
        lines.append(line)
    return "\n".join(lines)
