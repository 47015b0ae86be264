"""What the routes of secrets take and give: values go in, never out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from brain.edge import Body
from brain.secrets.core import VALUE_BYTES_MAX
from brain.secrets.models import AccountSecret


class SecretBody(Body):
    """The value; it is sealed at once and shown to nobody again."""

    value: Annotated[SecretStr, Field(min_length=1, max_length=VALUE_BYTES_MAX)]


class SecretOut(BaseModel):
    """A secret's name and dates."""

    name: str
    created_at: datetime
    changed_at: datetime


def show(row: AccountSecret) -> SecretOut:
    return SecretOut(name=row.name, created_at=row.created_at, changed_at=row.changed_at)
