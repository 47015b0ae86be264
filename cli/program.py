"""Runs a module as ``python -m`` does, with no looks for garbage while it imports: what is imported
stays, and looking through it again and again takes a fifth of a big program's start.

The program turns them on again when it is ready.
"""

from __future__ import annotations

import gc
import runpy
import sys


def main() -> None:
    gc.disable()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
