"""Request and answer bodies of the marketplace."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PriceText = Annotated[str, Field(min_length=1, max_length=24, examples=["0.79"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class ProviderBody(_Body):
    name: Annotated[str, Field(min_length=1, max_length=80)]


class ProviderView(BaseModel):
    account_id: str
    name: str
    created_at: datetime


class JoinTokenView(BaseModel):
    """``token`` is shown this once."""

    token_id: str
    token: str
    expires_at: datetime
    command: str  # to be run on the host, where it has curl
    commands: dict[str, str]  # the same with curl, wget or python3


class NodePatch(_Body):
    """``price_usd_per_gpu_hour`` is a decimal text, so that no digit is lost."""

    price_usd_per_gpu_hour: PriceText | None = None
    listed: bool | None = None
    name: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    region: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]*$")] | None = None


class ProviderNodeView(BaseModel):
    node_id: str
    name: str
    price_usd_per_gpu_hour: str
    price_nano_per_gpu_hour: int
    listed: bool
    region: str
    created_at: datetime
    revoked: bool
