"""Runs a module as ``python -m`` does, with no looks for garbage while it imports: what is imported
stays, and looking through it again and again takes a fifth of a big program's start.

The program turns them on again when it is ready. One that is started before what it needs is there
imports meanwhile, and begins when the pipe is closed whose number is in ``GANGLION_GATE``.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys
from importlib import import_module

GATE = "GANGLION_GATE"  # number of a pipe and a module to import: "7 brain.worker"


def main() -> None:
    gc.disable()
    del sys.argv[0]
    if gate := os.environ.pop(GATE, ""):
        number, module = gate.split()
        import_module(module)
        os.read(int(number), 1)
        os.close(int(number))
        sys.modules.pop(sys.argv[0], None)  # it runs under another name
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
