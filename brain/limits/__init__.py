"""Rate limits of the data plane, dealt to gateway processes in short leases."""

from brain.limits.dealing import Dealer

__all__ = ["Dealer"]
