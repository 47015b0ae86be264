"""Shapes of identity's requests and answers."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, EmailStr, Field, StringConstraints, model_validator

from brain.edge import Body, Line, Name
from brain.identity.core import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, Scope
from brain.identity.models import ApiKey
from kernel.money import NANO, Money

Email = Annotated[EmailStr, Field(max_length=254)]
Password = Annotated[
    str,
    Field(
        min_length=PASSWORD_LENGTH_MIN,
        max_length=PASSWORD_LENGTH_MAX,
        description=f"At least {PASSWORD_LENGTH_MIN} characters.",
    ),
]
RateLimit = Annotated[int, Field(ge=1, le=10**9, strict=True)]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._/:@-]+$")
]


class RegisterBody(Body):
    email: Email
    password: Password
    name: Name | None = None

    @model_validator(mode="after")
    def _not_the_email(self) -> Self:
        if self.password.casefold() == self.email.casefold():
            raise ValueError("the password must not be the e-mail")
        return self


class RegisteredOut(BaseModel):
    """Says the same for an address that was taken: log in to see that it worked."""

    account_id: str
    user_id: str


class LoginBody(Body):
    email: Annotated[str, Field(min_length=1, max_length=254, pattern=r"^[^\x00-\x1f\x7f]+$")]
    password: Annotated[str, Field(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class TokenOut(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 (RFC 6750 names it so)
    expires_in: int


class MeOut(BaseModel):
    account_id: str
    user_id: str
    email: str
    name: str
    roles: list[str]


class NewKeyBody(Body):
    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] = Field(
        default=[Scope.INFERENCE, Scope.READ]
    )
    expires_in_days: Annotated[int, Field(ge=1, le=3650, strict=True)] | None = None
    models: Annotated[list[ModelName], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only these models; all where left out."
    )
    cost_limit_usd: (
        Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=9, allow_inf_nan=False)] | None
    ) = Field(default=None, description="The most that one request may cost.")

    requests_per_minute: RateLimit | None = Field(
        default=None, description="Requests a minute; this installation's limit where left out."
    )
    tokens_per_minute: RateLimit | None = Field(
        default=None, description="Tokens a minute, of prompts and answers; none where left out."
    )
    requests_at_once: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = Field(
        default=None, description="Requests that may run at the same time; none where left out."
    )

    def cost_limit_nano(self) -> int:
        return 0 if self.cost_limit_usd is None else int(self.cost_limit_usd * NANO)


class KeyOut(BaseModel):
    key_id: str
    name: str
    prefix: str
    scopes: list[str]
    models: list[str] | None
    cost_limit_usd: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_at_once: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyOut(KeyOut):
    """``key`` is shown in this answer and never again."""

    key: Line


def show_key(row: ApiKey) -> KeyOut:
    limit = row.cost_limit_nano
    return KeyOut(
        key_id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        models=row.models,
        cost_limit_usd=str(Money(limit)).removeprefix("$") if limit else None,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        requests_at_once=row.requests_at_once,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
