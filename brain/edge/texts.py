"""Types of text that come from outside: bounded, and free of control characters."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

# PostgreSQL refuses NUL in text, and a line break in a name is always a mistake or a trick.
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_PRINTABLE),
]
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_PRINTABLE),
]


class Body(BaseModel):
    """Parent of every request body: a field that we do not know is a mistake, so we say so."""

    model_config = ConfigDict(extra="forbid")
