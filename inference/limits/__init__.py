"""How much a key, an account or an address may ask for, over all gateway processes together.

The brain deals this process leases (``brain/limits``); a request counts them down in memory. See
``meter`` for what may be spent ahead of a lease, and docs/gateway.md for the bounds in words.
"""

from inference.limits.book import Limits
from inference.limits.gate import Admitted, Refused

__all__ = ["Admitted", "Limits", "Refused"]
