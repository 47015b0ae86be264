"""What closed windows cost: gross charges, ceilings, refunds, one carry per account. Pure.

All comparisons are exact, in *units* of 1 / CARRY_DIVISOR nano-dollar: ``rate x ticks``. A window
is charged in whole nano-dollars and its remainder stays in the account's carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from brain.billing.core.lease import Lease
from brain.billing.core.posting import CEILING, REFUNDS
from brain.billing.core.window import Piece, Window
from kernel.ids import AccountId
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS

Attempt = tuple[str, int]


class Prior(NamedTuple):
    """What posted windows gave an attempt before: its ticks, and the tokens of its pieces."""

    ticks: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


NOTHING = Prior()


class Waiver(NamedTuple):
    """Units taken off an attempt's bill, booked to ``account`` with the final piece ``key``."""

    key: str
    units: int
    account: str


@dataclass(slots=True)
class Share:
    """One account's part of a window. ``refunded_ticks`` went to failed attempts."""

    ticks: int = 0
    refunded_ticks: int = 0
    earlier_refunded_ticks: int = 0
    by_slice: dict[str, int] = field(default_factory=dict)
    waivers: list[Waiver] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)

    def gpu_ns(self) -> int:
        return (self.ticks - self.refunded_ticks) // TICKS_PER_GPU_NS

    def refunded_ns(self) -> int:
        return self.refunded_ticks // TICKS_PER_GPU_NS


@dataclass(frozen=True)
class Bill:
    """Nano-dollars: ``net = gross - ceiling - refunds``; ``net`` may be a credit."""

    gross: int
    ceiling: int
    refunds: int
    carry: int

    @property
    def net(self) -> int:
        return self.gross - self.ceiling - self.refunds


def shares_by_account(
    lease: Lease, window: Window, history: dict[Attempt, Prior]
) -> dict[AccountId, Share]:
    """Each account's share of a window. ``history`` is carried from window to window, of those
    attempts of which something may be taken off when they end."""
    shares: dict[AccountId, Share] = {}
    mine: dict[Attempt, int] = {}
    pooled, waives = lease.pooled, lease.waives
    for piece, ticks in zip(window.lived, window.ticks, strict=True):
        share = shares.get(piece.account)
        if share is None:
            share = shares[piece.account] = Share()
        share.ticks += ticks
        share.requests.add(piece.request)
        slice_id = piece.slice_id
        if slice_id is not None:
            share.by_slice[slice_id] = share.by_slice.get(slice_id, 0) + ticks
        if pooled and (waives or piece.failed or not piece.lone):
            attempt = (piece.request, piece.attempt)
            mine[attempt] = mine.get(attempt, 0) + ticks
            history.setdefault(attempt, prior_of(piece, history))
    for piece in window.ended:
        if piece.account not in shares:
            shares[piece.account] = Share()
        if waives or (pooled and piece.failed):
            now = mine.get((piece.request, piece.attempt), 0)
            _end(lease, shares[piece.account], piece, history, now)
    for attempt, ticks in mine.items():
        old = history[attempt]
        history[attempt] = Prior(old.ticks + ticks, old.prompt_tokens, old.completion_tokens)
    return shares


def prior_of(piece: Piece, history: Mapping[Attempt, Prior]) -> Prior:
    """What an attempt had before. Of a lone piece nobody need ask: its tokens are all there are."""
    found = history.get((piece.request, piece.attempt))
    if found is None:
        return Prior(0, piece.prompt_tokens, piece.completion_tokens) if piece.lone else NOTHING
    return found


def _end(
    lease: Lease,
    share: Share,
    final: Piece,
    history: Mapping[Attempt, Prior],
    now: int,
) -> None:
    """What the end of an attempt takes off its account's bill."""
    before = prior_of(final, history)
    share.waivers.extend(waivers(lease, final, before, now))
    if final.failed:
        share.refunded_ticks += now
        share.earlier_refunded_ticks += before.ticks


def waivers(lease: Lease, final: Piece, before: Prior, ticks: int) -> list[Waiver]:
    """What comes off an attempt's bill at its end: all for a failed worker, else what exceeds the
    published ceiling on its tokens. Tokens that are an estimate (the client hung up, the gateway
    died) set no ceiling: they may be none at all, and the share of the GPU was had."""
    terms = lease.terms
    if not lease.pooled:
        return []
    cost = terms.pool_rate_nano * (before.ticks + ticks)
    if final.failed:
        return [Waiver(final.key, cost, REFUNDS)] if cost else []
    if final.tokens_estimated:
        return []
    if not terms.ceiling_prompt_nano and not terms.ceiling_completion_nano:
        return []
    over = cost - ceiling_units(lease, before.prompt_tokens, before.completion_tokens)
    return [Waiver(final.key, over, CEILING)] if over > 0 else []


def ceiling_units(lease: Lease, prompt_tokens: int, completion_tokens: int) -> int:
    """The most that so many tokens may cost, in units."""
    per_thousand = (
        lease.terms.ceiling_prompt_nano * prompt_tokens
        + lease.terms.ceiling_completion_nano * completion_tokens
    )
    return per_thousand * (CARRY_DIVISOR // 1000)


def bill(rate_nano: int, ticks: int, taken_off: Sequence[Waiver], carry: int) -> Bill:
    """Whole nano-dollars of ``rate x ticks`` less the waivers, and the carry to keep."""
    units = rate_nano * ticks
    ceiling = sum(w.units for w in taken_off if w.account == CEILING)
    refunds = sum(w.units for w in taken_off if w.account == REFUNDS)
    gross = (units + carry) // CARRY_DIVISOR
    after_ceiling = (units - ceiling + carry) // CARRY_DIVISOR
    net, rest = divmod(units - ceiling - refunds + carry, CARRY_DIVISOR)
    return Bill(gross, gross - after_ceiling, after_ceiling - net, rest)


def spread(total: int, by_slice: Mapping[str, int]) -> dict[str, int]:
    """Divide a charge among the slices in proportion to their ticks; sums to ``total``."""
    whole = sum(by_slice.values())
    if total <= 0 or not whole:
        return {}
    names = sorted(by_slice)
    parts = {name: total * by_slice[name] // whole for name in names}
    parts[names[0]] += total - sum(parts.values())
    return {name: part for name, part in parts.items() if part}
