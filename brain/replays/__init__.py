"""Requests to the gateways with an ``Idempotency-Key``: each runs once, and its answer is kept.

The door. Gateways come in by ``routes``; ``forget_old_replays`` is a tick's.
"""

from brain.replays.service import Replays, forget_old_replays

__all__ = ["Replays", "forget_old_replays"]
