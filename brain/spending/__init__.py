"""The room of spending: limits that accounts set, warnings when credit runs low or is over."""

from brain.spending.reconcile import WarnTerms, warn_due

__all__ = ["WarnTerms", "warn_due"]
