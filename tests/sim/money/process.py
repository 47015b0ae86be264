"""A process of the brain that handles money: it dies, is deadlocked, and is cancelled mid-way.

Transactions and calls to processors are turns, so that the seed alone orders them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import stripe
from sqlalchemy.exc import OperationalError

from brain.adapters.payments.momo import (
    MomoAccount,
    MomoCollector,
    MomoDisburser,
    MomoHttp,
    MomoRefunder,
)
from brain.adapters.payments.settings import PaymentSettings
from brain.adapters.payments.stripe import open_stripe
from brain.payments import Desk, PaymentTerms, Processor
from brain.payouts import Disbursers, Every, PayoutTerms
from brain.plumbing import Tx
from standins.payments.front import App as MomoApp
from standins.payments.momo.app import COLLECTION_KEY, DISBURSEMENT_KEY, USER, USER_KEY
from standins.payments.momo.desk import MomoDesk
from standins.payments.stripe import KEY, SECRET
from standins.payments.stripe.asgi import App
from tests.sim.whole.process import Ground, Process, SimDb

MATURES_SECONDS = 1800
RATES = {
    "death_at_mark": 0.012,
    "death_before_a_commit": 0.006,
    "death_after_a_commit": 0.006,
    "death_before_a_call": 0.006,
    "death_after_a_call": 0.015,
    "database_cut_before": 0.006,
    "database_cut_after": 0.006,
    "deadlock": 0.012,
    "cancelled": 0.012,
    "answer_lost": 0.03,
}


class MoneyDb(SimDb):
    """One transaction at a time; some end as the victim of a deadlock, after all their work."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        own = self._process
        nested = own.ground.turns.mine
        async with super().begin() as tx:
            yield tx
            if not nested and own.doing != "nothing" and own.ground.faults.strikes("deadlock"):
                victim = asyncpg.DeadlockDetectedError("deadlock detected")
                raise OperationalError("COMMIT", {}, victim)
        if not nested:
            own.may_be_cancelled()


class MoneyProcess(Process):
    """``desk`` and ``terms`` are what its wiring would hand it."""

    desk: Desk
    terms: PayoutTerms

    def __init__(self, ground: Ground, name: str) -> None:
        super().__init__(ground, name)
        self.ctx = replace(self.ctx, db=MoneyDb(ground.db, self))

    def may_be_cancelled(self) -> None:
        """A client that hung up, or a shutdown: the running work ends at its next await."""
        for name, task in self.running.items():
            if name.partition(" of ")[0] == self.doing and self.ground.faults.strikes("cancelled"):
                self.note(f"{name} is cancelled")
                task.cancel()
                return


class Wire(httpx.AsyncBaseTransport):
    """One call to a processor in this process: a turn, before and after which its maker may die."""

    def __init__(self, app: Any, process: MoneyProcess) -> None:
        self._inner = httpx.ASGITransport(app)
        self._process = process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        own, turns = self._process, self._process.ground.turns
        own.check()
        await turns.take(own)
        given = False
        try:
            own.may_die("before a call", "before a call")
            turns.give()
            given = True
            answer = await self._inner.handle_async_request(request)
            await turns.take(own)
            given = False
            own.may_die("after a call", "after a call")
        except ConnectionResetError as cut:
            raise httpx.ReadError("cut") from cut
        finally:
            if not given:
                turns.give()
        if own.doing != "nothing" and own.ground.faults.strikes("answer_lost"):
            raise httpx.ReadTimeout("the answer was lost")
        return answer


class InProcess(stripe.HTTPXClient):
    """The library's own client over a wire."""

    def __init__(self, wire: httpx.AsyncBaseTransport) -> None:
        super().__init__(timeout=20, verify_ssl_certs=False)  # no lists of authorities are read
        self._client_async = httpx.AsyncClient(transport=wire, timeout=None)


@dataclass(frozen=True)
class Outside:
    """The processors: an emulated Stripe, an emulated MoMo."""

    stripe: App
    momo: MomoDesk


def money_process(ground: Ground, outside: Outside, name: str) -> MoneyProcess:
    """A new process with nothing in memory, wired to the processors."""
    made = MoneyProcess(ground, name)
    settings = PaymentSettings(
        stripe_api_key=KEY, stripe_webhook_secret=SECRET, stripe_api_base="http://127.0.0.1:1"
    )
    cards, _ = open_stripe(settings, ground.clock, http=InProcess(Wire(outside.stripe, made)))
    wire = Wire(MomoApp(outside.momo), made)
    back = MomoRefunder(_momo("disbursement", DISBURSEMENT_KEY, made, wire))
    phones = Processor(
        MomoCollector(_momo("collection", COLLECTION_KEY, made, wire)),
        ("mobile_money",),
        currency="EUR",
        refunder=back,
        refund_looker=back,
    )
    terms = PaymentTerms(public_url="http://brain")
    made.desk = Desk({one.name: one for one in (cards, phones)}, terms)
    disburser = MomoDisburser(_momo("disbursement", DISBURSEMENT_KEY, made, wire))
    made.terms = PayoutTerms(Disbursers({"momo": disburser}), Every.WEEK, MATURES_SECONDS)
    return made


def _momo(product: str, key: str, process: MoneyProcess, wire: Wire) -> MomoHttp:
    account = MomoAccount(
        product=product,
        base_url="http://momo",
        environment="sandbox",
        subscription_key=key,
        user=USER,
        user_key=USER_KEY,
    )
    return MomoHttp(account, process.ground.clock, wire)


Make = Callable[[str], MoneyProcess]
