"""Proofs of the books: for the administrator, for an account's own leases, and by the beat."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from brain.billing.chain_models import ProofState
from brain.billing.core.proof import Proof
from brain.billing.ports import ProofSource
from brain.billing.store import proofs, seals
from brain.billing.store.seals import Seal
from brain.plumbing import Ctx, Tx
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


async def prove_due(ctx: Ctx, sources: Sequence[ProofSource] = ()) -> list[Proof]:
    """The tick: seal what was posted, prove everything, keep what came out. A proof that breaks
    is an alarm until it holds again. May run any number of times at once."""
    await seal(ctx)
    found = await prove(ctx, sources=sources)
    async with ctx.db.begin() as tx:
        for proof in sorted(found, key=lambda one: one.name):
            await _keep(tx, ctx, proof)
    return found


async def seal(ctx: Ctx) -> Seal | None:
    """One seal over every batch since the last; its hash goes to the log, to be kept elsewhere."""
    async with ctx.db.begin() as tx:
        made = await seals.seal(tx, ctx.clock.now())
    if made is not None:
        _log.info("journal_sealed", number=made.number, batches=made.batches, hash=made.hash)
    return made


async def newest_seal(ctx: Ctx) -> Seal | None:
    async with ctx.db.begin() as tx:
        return await seals.newest(tx)


async def _keep(tx: Tx, ctx: Ctx, proof: Proof) -> None:
    now = ctx.clock.now()
    row = insert(ProofState).values(
        name=proof.name,
        law=proof.law,
        count=proof.count,
        broken=proof.broken,
        at=now,
        broken_since=None if proof.holds else now,
    )
    since = None if proof.holds else text("coalesce(proof_state.broken_since, excluded.at)")
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["name"],
            set_={
                **{name: row.excluded[name] for name in ("law", "count", "broken", "at")},
                "broken_since": since,
            },
        )
    )


async def proof_states(tx: Tx) -> list[ProofState]:
    """What each proof gave when the beat last ran it."""
    rows = await tx.scalars(select(ProofState).order_by(ProofState.name))
    return list(rows)
