"""The room of costs: what work costs us, recorded as it happens. This is its door."""

from brain.costs.recorder import Cost, Recorder

__all__ = ["Cost", "Recorder"]
