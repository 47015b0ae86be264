"""``Idempotency-Key``: a request that is sent again joins the running one or gets its answer.

The door. Who runs a key is the brain's to say (``kernel.wire.replays``), so it holds over any
number of gateways. A request that a worker may have begun is never run a second time.
"""

from inference.idempotency.desk import BrainDesk, Desk, MemoryDesk
from inference.idempotency.keyed import Keyed
from inference.idempotency.replays import Replays

__all__ = ["BrainDesk", "Desk", "Keyed", "MemoryDesk", "Replays"]
