"""What the fetchers of outside parts share: where parts lie, and how one says it cannot be had."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ROOT / ".parts"


class CannotHave(Exception):
    """This machine cannot have the part; the words say why and what would help."""


def run_quietly(command: list[str], log: Path, *, seconds_max: float) -> None:
    """Run with all output in ``log``; raises ``CannotHave`` with the last line of it."""
    with log.open("a") as sink:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                timeout=seconds_max,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise CannotHave(f"{command[0]} was not done after {seconds_max:.0f} s") from None
    if code != 0:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        said = lines[-1] if lines else "nothing was said"
        raise CannotHave(f"{said} (all of it in {log.relative_to(ROOT)})")
