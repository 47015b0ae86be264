"""Both simulators as one program, for tests: its imports are paid once (tests/support/warm.py).

``MODULE ARGUMENTS…`` is what ``python -m MODULE ARGUMENTS…`` is.
"""

from __future__ import annotations

import sys

import tests.sim.__main__ as whole
import tests.sim.money.__main__ as money

MAIN = {"tests.sim": whole.main, "tests.sim.money": money.main}


def main() -> int:
    module, *arguments = sys.argv[1:]
    return MAIN[module](arguments)
