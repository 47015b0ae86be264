"""When a process of the brain looks for circles of garbage, once it is set up."""

from __future__ import annotations

import gc
from typing import Final

# A look at all that lives stops everybody: a second with 8,000 nodes in memory. What a request
# or a settlement leaves behind is young, and found by the first two generations.
GC_THRESHOLDS: Final = 20_000, 20, 1000


def settle_collector() -> None:
    """What was imported is for ever; what follows is looked through seldom."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
