"""What billing asks of higher rooms: their own laws, proven beside those of the books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from brain.billing.core.proof import Proof
from brain.plumbing import Tx


class ProofSource(Protocol):
    """A room whose rows must agree with the books: payments, payouts, what clouds cost.

    Wiring collects them. Each is asked within one read-only snapshot of the whole database, so it
    compares rows with rows and calls nobody: what a processor or a cloud says was looked up and
    written down before. ``name`` is the room's; its proofs' names begin with it
    (``payments_topups``), and each says its law in one sentence.
    """

    name: str

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        """Every law of the room; one that has nothing to look at yet counts 0 and holds."""
        ...
