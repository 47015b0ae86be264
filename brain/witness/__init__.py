"""What nodes sign of each lease's time, beside what we saw: the lesser is paid.

The door. ``judge_due`` is its tick.
"""

from brain.witness.service import judge_due

__all__ = ["judge_due"]
