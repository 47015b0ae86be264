"""From a settlement to what is written: postings, carries, windows, the lease after it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from brain.billing.core import books
from brain.billing.core.charge import (
    Attempt,
    Bill,
    Prior,
    Share,
    Waiver,
    bill,
    prior_of,
    shares_by_account,
    waivers,
)
from brain.billing.core.lease import Lease, LeaseMode, pod_busy
from brain.billing.core.posting import Posting
from brain.billing.core.window import Piece, Settlement, Window
from kernel.ids import AccountId, TxId

NewId = Callable[[], TxId]
Shares = Mapping[AccountId, Share]


@dataclass(frozen=True)
class WindowRow:
    """A posted window: ``busy = posted + rounding`` in whole GPU-ns."""

    start_ns: int
    end_ns: int
    busy_ns: int
    shared_ticks: int
    posted_ns: int

    @property
    def rounding_ns(self) -> int:
        return self.busy_ns - self.posted_ns


def shared(
    lease: Lease, result: Settlement, history: dict[Attempt, Prior]
) -> list[dict[AccountId, Share]]:
    """Each window's shares: what needs no balance, and so no lock."""
    return [shares_by_account(lease, window, history) for window in result.windows]


@dataclass
class Writing:
    """What one settlement of one lease writes. ``carries`` is by ledger account."""

    lease: Lease
    carries: dict[str, int]
    new_id: NewId
    platform: AccountId
    postings: list[Posting] = field(default_factory=list)
    windows: list[WindowRow] = field(default_factory=list)
    waivers: list[Waiver] = field(default_factory=list)
    bills: list[books.LeaseBill] = field(default_factory=list)

    def settlement(
        self,
        result: Settlement,
        shares: Sequence[Shares],
        history: Mapping[Attempt, Prior],
        *,
        finished: bool,
    ) -> None:
        """Write windows (each with its ``shares``), late ends and late time. The lease moves on to
        ``result``."""
        for window, of_accounts in zip(result.windows, shares, strict=True):
            self._window(window, of_accounts)
        for piece in sorted(result.late_finals):
            self._late_final(piece, history)
        self._late(result, finished=finished)
        self.lease = replace(
            self.lease,
            settled_ns=result.settled_ns,
            evidence_ns=result.evidence_ns,
            busy_ready_ns=self.lease.busy_ready_ns
            + sum(w.busy_ns - w.busy_drain_ns for w in result.windows)
            + result.late_ready_ns,
            busy_drain_ns=self.lease.busy_drain_ns
            + sum(w.busy_drain_ns for w in result.windows)
            + result.late_drain_ns,
            late_ns=self.lease.late_ns + result.late_ready_ns + result.late_drain_ns,
            rounding_ns=self.lease.rounding_ns + sum(w.rounding_ns for w in self.windows),
        )

    def time(self, until_ns: int) -> None:
        """Bill the lease's time up to ``until_ns``."""
        payer = books.carrier(self.lease, self.platform)
        made = books.bill_lease(self.lease, until_ns, self.carries[payer], self.platform)
        if made is None:
            return
        self.carries[payer] = made.carry
        self._add(books.lease_posting(self.new_id(), self.lease, made, self.platform))
        self.bills.append(made)
        self.lease = replace(self.lease, billed_ns=made.until_ns)

    def close(self) -> None:
        """The last bill, and every GPU-ns into its bucket."""
        assert self.lease.closed_ns is not None, "only a closed lease is closed in the books"
        self.time(self.lease.closed_ns)
        if self.lease.terms.mode == LeaseMode.POD:
            self.lease = pod_busy(self.lease)
            self._add(books.pod_posting(self.new_id(), self.lease))
        self._add(books.close_posting(self.new_id(), self.lease))

    def _add(self, posting: Posting | None) -> None:
        if posting is not None:
            self.postings.append(posting)

    def _window(self, window: Window, shares: Shares) -> None:
        posted = 0
        for account in sorted(shares):
            share = shares[account]
            cost = self._bill(account, share.ticks, share.waivers)
            self._add(books.window_posting(self.new_id(), self.lease, window, account, share, cost))
            posted += share.gpu_ns() + share.refunded_ns()
        if window.busy_ns:
            shared = sum(window.ticks)
            row = WindowRow(window.start_ns, window.end_ns, window.busy_ns, shared, posted)
            self.windows.append(row)

    def _bill(self, account: AccountId, ticks: int, taken_off: list[Waiver]) -> Bill | None:
        if not self.lease.pooled or account == self.platform:
            return None
        self.waivers += taken_off
        rate = self.lease.terms.pool_rate_nano
        made = bill(rate, ticks, taken_off, self.carries[account])
        self.carries[account] = made.carry
        return made

    def _late_final(self, piece: Piece, history: Mapping[Attempt, Prior]) -> None:
        before = prior_of(piece, history)
        taken_off = waivers(self.lease, piece, before, 0)
        cost = self._bill(piece.account, 0, taken_off) if taken_off else None
        if cost is not None:
            self._add(books.waiver_posting(self.new_id(), piece.account, piece.key, cost))

    def _late(self, result: Settlement, *, finished: bool) -> None:
        first = min((k for k, f in result.foldings.items() if f.late_ticks), default=None)
        if first is None:
            return
        key = books.late_key(self.lease.id, first, result.foldings[first].open_ns)
        posting = books.late_posting(
            self.new_id(),
            self.lease,
            ready_ns=result.late_ready_ns,
            drain_ns=result.late_drain_ns,
            finished=finished,
            key=key,
        )
        self._add(posting)
