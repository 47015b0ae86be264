"""Looks for accounts that crossed their line or were stopped, and writes their owners once."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from brain import billing, notices
from brain.identity import PLATFORM_ACCOUNT, addresses_of
from brain.plumbing import Ctx, Tx
from brain.spending import core, store
from brain.spending.core import Seen, Words
from kernel.ids import AccountId

PAGE = 200

_log = structlog.get_logger()


@dataclass(frozen=True)
class WarnTerms:
    """The installation's own line, and how long volumes are kept."""

    line_nano: int
    grace_days: int


async def warn_due(ctx: Ctx, terms: WarnTerms) -> int:
    """Write a letter for each crossing and each stop that was not told. Returns how many
    accounts had news. The side that was seen and the letter commit together, under a lock of the
    account's row: once a crossing, however many run at once."""
    async with ctx.db.begin() as tx:
        found = await store.news(
            tx, line_nano=terms.line_nano, platform=PLATFORM_ACCOUNT, limit=PAGE
        )
    for one in found:
        try:
            async with ctx.db.begin() as tx:
                await _look(tx, ctx, terms, one.account, fresh=one.fresh)
        except Exception as error:  # of this account alone: the others must not wait for it
            _log.exception("account_not_warned", account_id=one.account, error=repr(error))
    return len(found)


async def _look(tx: Tx, ctx: Ctx, terms: WarnTerms, account: AccountId, *, fresh: bool) -> None:
    row = await store.alert(tx, account, lock=True)
    free = (await billing.balances(tx, [account]))[account].free
    own = row.threshold_nano
    line = terms.line_nano if own is None else own
    below = core.side(Seen(free, line, row.below))
    stop = await store.last_stop(tx, account)
    letters: list[Words] = []
    news = stop is not None and row.stop_told_at != stop.at
    if below and not row.below and not fresh and not news and not (stop and stop.stands):
        letters.append(core.low_balance(free, line))
    if stop is not None and news:
        letters.append(core.stopped(stop.reason, free, terms.grace_days, stands=stop.stands))
        row.stop_told_at = stop.at
    row.below = below
    await tx.flush()
    addresses = [row.email] if row.email else await addresses_of(tx, account)
    for words in letters:
        for address in addresses:
            notices.mail(tx, ctx, address, words.subject, words.text)
