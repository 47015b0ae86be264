"""Bodies of the account routes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from brain.billing.service.grants import CREDITS_MAX, GrantKind
from brain.edge import Body, Line
from kernel.ids import AccountId


class CreditsBody(Body):
    """Either ``account_id`` or ``email`` names the account."""

    account_id: Annotated[str, Field(max_length=60)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None
    credits: Annotated[int, Field(ge=1, le=CREDITS_MAX, strict=True)]
    kind: GrantKind = GrantKind.ADMIN
    reason: Line
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def one_account(self) -> Self:
        if (self.account_id is None) == (self.email is None):
            raise ValueError("name the account by account_id or by email")
        if self.account_id is not None:
            AccountId.parse(self.account_id)
        return self


class CreditsOut(BaseModel):
    transaction_id: str
    account_id: str
    credits: int


class BalanceOut(BaseModel):
    """Nano-dollars; ``*_usd`` is the same for people. ``credits`` is what is free, rounded down."""

    account_id: str
    posted_nano: int
    held_nano: int
    free_nano: int
    free_usd: str
    pending_nano: int = Field(description="Earnings as a provider that are not paid out yet.")
    credits: int
    credit_price_nano: int
    stopped: bool


class TransactionOut(BaseModel):
    transaction_id: str
    kind: str
    memo: str
    amount_nano: int
    amount_usd: str
    at: str


class UsageOut(BaseModel):
    """One request. ``cost_*`` is exact and 0 on the account's own deployments, whose time is
    billed by the lease; ``settled`` is false while its last window is open."""

    request_id: str
    at_ns: int
    duration_ms: int
    deployment_id: str
    model: str
    route: str
    mode: str
    status: int
    prompt_tokens: int
    completion_tokens: int
    gpu_seconds: str
    cost_nano: str
    cost_usd: str
    settled: bool


class SealOut(BaseModel):
    number: int
    hash: str


class ReverseBody(Body):
    reason: Line


class ReversedOut(BaseModel):
    transaction_id: str
    reversal_id: str


class ProofOut(BaseModel):
    name: str
    law: str
    count: int
    broken: int
    holds: bool


class BooksOut(BaseModel):
    """``holds``: every proof does. ``seal``: the newest over the journal's batches."""

    holds: bool
    proofs: list[ProofOut]
    seal: SealOut | None
