"""Proofs of the books, for the administrator and for an account's own leases."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import text

from brain.billing.core.proof import Proof
from brain.billing.ports import ProofSource
from brain.billing.store import proofs
from brain.plumbing import Ctx
from kernel.ids import AccountId

_log = structlog.get_logger()


async def prove(
    ctx: Ctx, account: AccountId | None = None, sources: Sequence[ProofSource] = ()
) -> list[Proof]:
    """Every proof, on one consistent view of the books; with ``account``, those of its leases.
    ``sources`` are the rooms that add theirs.

    A broken one is logged as an error. Changes nothing; may run at any time.
    """
    async with ctx.db.begin() as tx:
        await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        found = (
            await proofs.prove(tx, ctx.clock.now_ns())
            if account is None
            else await proofs.of_leases(tx, account)
        )
        if account is None:
            for source in sources:
                found += await source.proofs(tx, ctx.clock.now_ns())
    for proof in found:
        if not proof.holds:
            _log.error("proof_broken", proof=proof.name, broken=proof.broken, of=proof.count)
    return found
