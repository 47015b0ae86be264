"""What identity needs to know from rooms above it; wiring hands it in."""

from __future__ import annotations

from typing import Protocol

from brain.plumbing import Tx
from kernel.ids import AccountId


class CreditGate(Protocol):
    """Asked before an API key is made."""

    async def purchased_credits(self, tx: Tx, account_id: AccountId) -> int:
        """Credits that the account ever bought and whose payment is verified."""
        ...


class Told(Protocol):
    """Who keeps a copy of keys."""

    async def told(self, entity: str, entity_id: str) -> None:
        """Returns when they know of this row, or cannot be waited for."""
        ...
