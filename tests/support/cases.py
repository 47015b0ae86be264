"""How many cases a law is tried with: all of them in `make test-long`, a part in the suite."""

from __future__ import annotations

import hypothesis

CASES_MIN = 10
PART = 5


def cases(whole: int, *, part: int | None = None) -> int:
    """``whole`` where the profile is; else ``part`` or a fifth, drawn anew in each run."""
    if hypothesis.settings.get_current_profile_name() == "whole":
        return whole
    return max(min(CASES_MIN, whole), whole // PART if part is None else part)
