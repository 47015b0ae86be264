"""Asks the brain for slices of accounts' money, and remembers which go back."""

from __future__ import annotations

import asyncio

from inference.brain import Brain
from inference.gateway import Gateway
from inference.slices import Purse, Slice
from inference.snapshot import Account
from kernel.clock import NS, Clock
from kernel.errors import GanglionError, OutOfCredit
from kernel.ids import HoldId, Ids
from kernel.money import NANO
from kernel.wire.gateway import SliceRequest

RETRY_SECONDS = 0.1
IDLE_RETRY_SECONDS = 2.0
SLICE_NANO_MAX = 1000 * NANO


class Slicer:
    """The brain's side of every purse. ``ask`` is cheap and may be called for each waiter."""

    def __init__(self, gateway: Gateway, brain: Brain, clock: Clock, ids: Ids) -> None:
        self._gateway = gateway
        self._brain = brain
        self._clock = clock
        self._ids = ids
        self._tasks: set[asyncio.Task[None]] = set()
        self._back: list[str] = []  # slices to return with the next batch

    def ask(self, account: Account) -> None:
        if account.purse.asking:
            return
        account.purse.asking = True
        task = asyncio.get_running_loop().create_task(self._serve(account))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take_back(self) -> list[str]:
        """The slices that nobody uses here any more; the caller now owes their return."""
        now_ns = self._clock.monotonic_ns()
        idle_ns = 0
        if not self._gateway.draining:
            idle_ns = round(self._gateway.settings.gateway_slice_idle_seconds * NS)
        for account in self._gateway.tables.accounts.values():
            self._back.extend(piece.slice_id for piece in account.purse.idle(now_ns, idle_ns))
        back, self._back = self._back, []
        return back

    def put_back(self, slice_ids: list[str]) -> None:
        """The batch that carried them did not arrive."""
        self._back.extend(slice_ids)

    async def _serve(self, account: Account) -> None:
        """Ask until nobody waits any more. One question at a time for each account."""
        purse = account.purse
        try:
            while purse.waiters:
                want, need = purse.wanted(self._gateway.settings.gateway_slice_nano)
                want = max(min(want, SLICE_NANO_MAX), need)
                slice_id = str(self._ids.new(HoldId))
                self._gateway.metrics.count("slice_asked")
                await self._ask(account, purse, slice_id, want, need)
        finally:
            purse.asking = False

    async def _ask(
        self, account: Account, purse: Purse, slice_id: str, want: int, need: int
    ) -> None:
        """Asks until it is answered, even when nobody waits any more: a question that got no
        answer may have been granted, and what is granted is known here or given back."""
        request = SliceRequest(
            slice_id=slice_id,
            boot_id=self._gateway.boot_id,
            account_id=account.row.account_id,
            want_nano=want,
            need_nano=need,
        )
        while True:
            try:
                answer = await self._brain.slice(request)
            except OutOfCredit:
                purse.declined(self._clock.monotonic_ns())
                return
            except GanglionError:
                await self._clock.sleep(RETRY_SECONDS if purse.waiters else IDLE_RETRY_SECONDS)
                continue
            now_ns = self._clock.monotonic_ns()
            granted = Slice(answer.slice_id, granted=answer.granted_nano, touched_ns=now_ns)
            purse.granted(granted, now_ns)
            if purse.waiters and answer.granted_nano < need:
                purse.declined(now_ns)
            return
