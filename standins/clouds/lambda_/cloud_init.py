"""User data as cloud-init takes it: a shell script, or #cloud-config with files and commands."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from standins.clouds.lambda_.desk import bad
from standins.clouds.machine import Program

# What the machine's image brings: Docker, which runs a container's command by itself here, in the
# environment that it is given. Options and their values are passed over but for these two.
IMAGE = r"""
mkdir -p "$HOME/image" && PATH="$HOME/image:$PATH" && export PATH
cat > "$HOME/image/docker" <<'DOCKER'
#!/bin/sh
[ "${1-}" = run ] || exit 0
shift
entry=
while [ $# -gt 0 ]; do
    case "$1" in
        --entrypoint) entry=$2; shift 2 ;;
        -e | --env) case "$2" in *=*) export "$2" ;; esac; shift 2 ;;
        --gpus | --shm-size | --name | --network | --ipc | -v | --volume | -p) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
shift
exec ${entry:+"$entry"} "$@"
DOCKER
chmod 700 "$HOME/image/docker"
exec /bin/sh -c "$1"
"""
DISK = "disk"  # the machine's folder that its absolute paths lie below


def program_of(user_data: str) -> Program | None:
    """What the machine runs once, as root, when it has come up. It stays up when that ends."""
    if not user_data.strip():
        return None
    if user_data.startswith("#!"):
        return _program(user_data)
    if not user_data.startswith("#cloud-config"):
        raise bad("user_data must be a script or #cloud-config.")
    try:
        config = yaml.safe_load(user_data) or {}
    except yaml.YAMLError as wrong:
        raise bad("user_data is not YAML.") from wrong
    if not isinstance(config, dict):
        raise bad("#cloud-config must be an object.")
    script = _script(config)
    return _program(script) if script else None


def _program(script: str) -> Program:
    return Program(("/bin/sh", "-c", IMAGE, "cloud-init", script), ends_machine=False)


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
