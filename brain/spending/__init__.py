"""The room of spending: limits of keys, warnings when credit runs low or is over."""

from brain.spending.keys import keys_reached, watch_keys
from brain.spending.reconcile import WarnTerms, warn_due

__all__ = ["WarnTerms", "keys_reached", "warn_due", "watch_keys"]
