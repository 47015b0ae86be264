"""`make check`: format, lint, types, floors and the tree's own rules, side by side.

Prints one line a check with its seconds, then what the failed ones said. Exit code 1 if any did.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SECONDS_MAX = 600


@dataclass(frozen=True)
class Check:
    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    check: Check
    code: int
    said: str
    seconds: float


PYTEST = ("python", "-m", "pytest", "-q", "--no-header")
RULES = "tests/architecture"
READ_ONLY = tuple(f"{RULES}/test_{name}.py" for name in ("tidy", "statements", "docs", "features"))

# The longest first, so that the others fill the second core meanwhile. Most rules read text alone:
# without the fixtures of the suite they need not import the product.
CHECKS = (
    Check("routes", (*PYTEST, RULES, *(f"--ignore={one}" for one in READ_ONLY))),
    Check("tree", (*PYTEST, "--noconftest", *READ_ONLY)),
    Check("types", ("mypy",)),
    Check("floors", ("lint-imports", "--no-cache")),
    Check("lint", ("ruff", "check", "--quiet", ".")),
    Check("format", ("ruff", "format", "--check", "--quiet", ".")),
)


def run(check: Check) -> Result:
    started = time.monotonic()
    command = [str(BIN / check.command[0]), *check.command[1:]]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    said = f"{done.stdout}{done.stderr}"
    return Result(check, done.returncode, said, time.monotonic() - started)


def main() -> int:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, CHECKS))
    for result in results:
        word = "ok" if result.code == 0 else "FAILED"
        print(f"{result.check.name:8} {word:6} {result.seconds:5.1f} s")
    failed = [result for result in results if result.code != 0]
    for result in failed:
        print(f"\n--- {result.check.name}: {' '.join(result.check.command)}\n{result.said}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
