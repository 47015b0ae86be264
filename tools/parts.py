"""Fetch the outside parts that tests and benches use, into .parts, never into the system.

    python -m tools.parts --for-tests            what `make test` needs, light parts only
    python -m tools.parts --for-tests --heavy    also real vLLM for the CPU (`make parts`)
    python -m tools.parts --peers                what some benches compare with

A part that this machine cannot have is told with its reason and kept in .parts/missing.json,
where the tests read why they are skipped. With REQUIRE_REAL_PARTS=1 heavy parts are fetched as
well and a missing one is a failure.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast

from tools.part import PARTS, CannotHave

MISSING = PARTS / "missing.json"


class Fetcher(Protocol):
    """A module, or an object in one, that fetches one part."""

    def is_ready(self) -> bool: ...

    def fetch(self, say: Callable[[str], None]) -> None:
        """Fetch it or raise ``CannotHave``; may be repeated."""
        ...


@dataclass(frozen=True)
class Part:
    """``fetcher`` names a ``Fetcher``, imported only when the part is asked for."""

    name: str
    fetcher: str
    size: str
    group: str = "tests"
    heavy: bool = False


PARTS_KNOWN = (
    Part("dockerd", "tools.debian_parts", "65 MB"),
    Part("vendors", "tools.vendors_part", "150 MB"),
    Part("node", "tools.node_part", "60 MB"),
    Part("debian-root", "tools.debian_root", "0.13 GB"),
    Part("vllm", "tools.vllm_part", "0.6 GB", heavy=True),
    Part("vllm-router", "tools.peers:VLLM_ROUTER", "10 MB", group="peers"),
    Part("litellm", "tools.peers:LITELLM", "0.7 GB", group="peers"),
)


def is_required() -> bool:
    return os.environ.get("REQUIRE_REAL_PARTS") == "1"


def why_missing(name: str) -> str:
    """Why a part is not there, for a test's skip; "" when it is ready."""
    part = next(part for part in PARTS_KNOWN if part.name == name)
    if _fetcher(part).is_ready():
        return ""
    known = json.loads(MISSING.read_text()) if MISSING.exists() else {}
    return str(known.get(name, f"{name} is not fetched: run `make parts`"))


def obtain(part: Part) -> str:
    """Have the part ready; the answer is "" or the reason why that cannot be."""
    fetcher = _fetcher(part)
    if fetcher.is_ready():
        return ""
    started = time.monotonic()
    _say(f"{part.name}: fetching ({part.size})")
    try:
        fetcher.fetch(lambda words: _say(f"{part.name}: {words}"))
    except CannotHave as reason:
        _say(f"{part.name}: cannot be had: {reason}")
        return str(reason)
    _say(f"{part.name}: ready in {time.monotonic() - started:.0f} s")
    return ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.parts", description=__doc__)
    parser.add_argument("--for-tests", action="store_true", help="the parts that tests use")
    parser.add_argument("--heavy", action="store_true", help="with the heavy ones")
    parser.add_argument("--peers", action="store_true", help="the parts that benches compare with")
    parser.add_argument("--only", choices=[part.name for part in PARTS_KNOWN], help="one part")
    asked = parser.parse_args(arguments)
    heavy = asked.heavy or is_required()
    groups = {"tests"} if asked.for_tests else set()
    groups |= {"peers"} if asked.peers else set()
    chosen = [part for part in PARTS_KNOWN if part.group in groups and (heavy or not part.heavy)]
    if asked.only:
        chosen = [part for part in PARTS_KNOWN if part.name == asked.only]
    PARTS.mkdir(exist_ok=True)
    with (PARTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second finds the work done
        # Side by side: one waits for its network while another one unpacks.
        with ThreadPoolExecutor(len(PARTS_KNOWN)) as pool:
            reasons = list(pool.map(obtain, chosen))
        missing = {part.name: why for part, why in zip(chosen, reasons, strict=True) if why}
        _remember({part.name for part in chosen}, missing)
    return 1 if missing and (is_required() or asked.heavy or asked.peers or asked.only) else 0


def _remember(tried: set[str], missing: dict[str, str]) -> None:
    before = json.loads(MISSING.read_text()) if MISSING.exists() else {}
    kept = {name: reason for name, reason in before.items() if name not in tried}
    MISSING.write_text(json.dumps({**kept, **missing}, indent=1))


def _fetcher(part: Part) -> Fetcher:
    module, _, attribute = part.fetcher.partition(":")
    found = importlib.import_module(module)
    return cast(Fetcher, getattr(found, attribute) if attribute else found)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
