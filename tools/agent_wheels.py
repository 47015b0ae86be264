"""Wheels for the agent's file, for several Pythons and machines: AGENT_WHEELS_DIR of the brain.

    python -m tools.agent_wheels FOLDER

Everything comes from requirements.lock and is checked by its hashes, so that a brain hands out
what was locked and nothing else. Runs in the image's build too: it needs pip alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11", "3.12")
MACHINES = ("x86_64", "aarch64")
# The C library of the oldest system that is served (Ubuntu 22.04 has 2.35).
GLIBC = ("2_34", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
OLD_NAMES = ("manylinux2014", "manylinux2010")
SECONDS_MAX = 600


def needed() -> tuple[str, ...]:
    """The names that the agent's file is made of, read as text: the build has no brain yet."""
    text = (ROOT / "brain" / "marketplace" / "agent_file.py").read_text()
    block = text[text.index("NEEDED = (") : text.index(")", text.index("NEEDED = ("))]
    return tuple(re.findall(r'"([a-z0-9_]+)"', block))


def locked(names: tuple[str, ...], lock: str) -> str:
    """The part of a hashed lock that pins these names."""
    wanted = {name.replace("_", "-") for name in names}
    kept, keep = [], False
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            name = re.split(r"[=\[ ;]", line, maxsplit=1)[0].lower().replace("_", "-")
            keep = name in wanted
            wanted.discard(name)
        if keep and not line.lstrip().startswith("#"):
            kept.append(line)
    if wanted:
        raise SystemExit(f"Not in {LOCK.name}: {', '.join(sorted(wanted))}.")
    return "\n".join(kept) + "\n"


def fetch(folder: Path, pins: Path, python: str, machine: str) -> None:
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in GLIBC]
    platforms += [f"{name}_{machine}" for name in OLD_NAMES]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={name}" for name in platforms]
    command += ["--dest", str(folder), "--requirement", str(pins)]
    done = subprocess.run(command, timeout=SECONDS_MAX, check=False)
    if done.returncode:
        raise SystemExit(f"No wheels for Python {python} on {machine}.")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        pins = Path(place) / "pins.txt"
        pins.write_text(locked(needed(), LOCK.read_text()))
        for machine in MACHINES:
            for python in PYTHONS:
                fetch(folder, pins, python, machine)
    wheels = list(folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in wheels) / 1e6
    sys.stdout.write(f"{len(wheels)} wheels, {size:.1f} MB, in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
