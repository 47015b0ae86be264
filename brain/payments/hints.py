"""Messages of processors: each is a hint where to look, and nothing of it is believed.

A message is marked as handled in the transaction that makes its top-up due, and the top-up's own
state and keys make any number and order of them harmless. One that names nothing we know is not
marked: sent again, it is looked up again, and the processor's books are read in any case.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from brain.payments import store
from brain.payments.desk import Desk
from brain.payments.models import TopUp
from brain.payments.ports import Forged, Hint
from brain.plumbing import Ctx, Tx, inbox, work
from kernel.errors import BadInput, Malformed
from kernel.ids import TopUpId

log = structlog.get_logger(__name__)


async def receive(
    ctx: Ctx, desk: Desk, processor: str, headers: Mapping[str, str], body: bytes
) -> TopUpId | None:
    """The top-up that is due now because of this message; None: none is.

    Raises ``Malformed`` for a message that the processor did not sign, or signed long ago.
    """
    found = desk.named(processor)
    if found is None or found.reader is None:
        raise Malformed(f"Messages of {processor} are not taken here.", code="not_signed")
    try:
        hint = found.reader.read(headers, body)
    except Forged as forged:
        log.warning("hint_refused", processor=processor, reason=forged.detail)
        raise Malformed(forged.detail, code="not_signed") from None
    if hint is None:
        return None
    await ctx.reach("payments.hinted")
    async with ctx.db.begin() as tx:
        topup_id = await _meant(tx, processor, hint)
        if topup_id is None:
            log.info("hint_of_nothing", processor=processor, kind=hint.kind)
            return None
        now = ctx.clock.now()
        if await inbox.first_time(tx, processor, hint.event_id, at=now):
            await work.nudge(tx, TopUp, topup_id, now)
            return topup_id
    return None


async def _meant(tx: Tx, processor: str, hint: Hint) -> TopUpId | None:
    """By our own id, which the processor has from the start; else by its reference."""
    if hint.order_id is not None:
        try:
            row = await store.get(tx, TopUpId.parse(hint.order_id))
        except BadInput:
            row = None
        if row is not None and row.processor == processor:
            return row.topup_id
    if hint.reference is None:
        return None
    return await store.named(tx, processor, hint.reference)
