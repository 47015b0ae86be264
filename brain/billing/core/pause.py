"""No search for circles of garbage while very many small values are made that form none. Pure."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """For a stretch that does not wait: half of a settlement's time went into looking through
    the values that it had just made, again and again. What is garbage is freed all the same."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
