"""One world: accounts, processors, processes of the brain, and what happens by chance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from brain import billing
from brain.marketplace.store import save_provider
from brain.payments import receive, reconcile_payments, reconcile_refills, service, sweep_payments
from brain.payments.service import RefillWish
from brain.payouts import reconcile_payouts
from brain.payouts.service import Wish, register, request, run_period
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.errors import GanglionError, Malformed
from kernel.ids import AccountId, SeededIds
from kernel.money import Money
from standins.payments.momo.app import COLLECTION_KEY, DISBURSEMENT_KEY, USER, USER_KEY
from standins.payments.momo.desk import MomoDesk
from standins.payments.stripe import add_webhook, make_app
from standins.payments.stripe.book import Desk as StripeDesk
from standins.payments.stripe.book import Rules, Thing
from standins.payments.stripe.hooks import Posting
from standins.payments.stripe.methods import attach_to, change_card, usable
from tests.sim.money.meter import Gateway, Made, Meter, pool_terms
from tests.sim.money.process import RATES, MoneyProcess, Outside, money_process
from tests.sim.whole.faults import Faults
from tests.sim.whole.process import Ground, PlainDb
from tests.sim.whole.trace import Trace
from tests.sim.whole.turns import Turns

START_NS = 1_800_000_000 * NS
WORKERS = 2
NUMBERS = ("256772123456", "46733123450", "46733123454")  # pays, refuses, pays after a while
HOOK = "http://brain/webhooks/stripe"
LONG_SECONDS = 600
REFILL, DAY_MAX, MONTH_MAX = Money.usd("10"), Money.usd("20"), Money.usd("30")


@dataclass
class World:
    """``people`` use the pool alone; ``renter`` rents a GPU of his own."""

    seed: int
    chance: Random
    clock: ManualClock
    ground: Ground
    ctx: Ctx  # the world's own view: it never fails
    outside: Outside
    meter: Meter
    people: list[AccountId]
    renter: AccountId
    providers: list[AccountId]
    processes: list[MoneyProcess] = field(default_factory=list)
    hooks: int = 0
    born: int = 0
    calm: int = 0  # steps since everyone was away for long
    at_peace: bool = False  # nothing new is begun, and every loop runs
    posting: asyncio.Task[int] | None = None

    @property
    def trace(self) -> Trace:
        return self.ground.trace

    @property
    def faults(self) -> Faults:
        return self.ground.faults

    @property
    def stripe(self) -> StripeDesk:
        return self.outside.stripe.book.platform

    @property
    def accounts(self) -> list[AccountId]:
        return [*self.people, self.renter]

    def living(self) -> MoneyProcess:
        """Some process that lives; the dead are replaced."""
        self.replace_dead()
        return self.chance.choice(self.processes)

    def replace_dead(self) -> None:
        for place, process in enumerate(self.processes):
            if process.dead:
                self.born += 1
                name = f"{process.name.partition('.')[0]}.{self.born}"
                self.processes[place] = money_process(self.ground, self.outside, name)

    def begin(self, name: str, work: Callable[[MoneyProcess], Awaitable[object]]) -> None:
        """Start it on some living process, beside all that runs."""
        process = self.living()
        process.begin(name, lambda: work(process))

    def ticks(self) -> None:
        """The loops of the brain, each on some processes and not on others."""
        loops: dict[str, Callable[[MoneyProcess], Awaitable[object]]] = {
            "payments": lambda p: reconcile_payments(p.ctx, p.desk, owner=p.name),
            "refills": lambda p: reconcile_refills(p.ctx, p.desk, owner=p.name),
            "statement": lambda p: sweep_payments(p.ctx, p.desk),
            "settle": lambda p: billing.settle_due(p.ctx),
            "accrue": lambda p: billing.accrue_due(p.ctx),
            "release": lambda p: billing.release_due(p.ctx),
            "payouts": lambda p: reconcile_payouts(p.ctx, p.terms, owner=p.name),
            "alive": self.meter.see,
            "spool": lambda p: self.meter.gateway.ship(p, self.meter.replicas),
        }
        if self.at_peace:
            del loops["refills"]  # they would go on for ever
        for name, work in loops.items():
            for _ in range(2 if self.chance.random() < 0.15 else 1):
                if self.at_peace or self.chance.random() < 0.8:
                    self.begin(name, work)
        if not self.at_peace and self.chance.random() < 0.1:
            self.begin("period", lambda p: run_period(p.ctx, p.terms))

    async def step(self, seconds: float) -> None:
        """Time goes on, everyone does what they can, until all stand still."""
        self.trace.step += 1
        self.calm = 0 if seconds > LONG_SECONDS else self.calm + 1
        self.clock.advance(seconds)
        self.ticks()
        if self.posting is None or self.posting.done():
            self.posting = asyncio.create_task(self.outside.stripe.deliver())
        await self.ground.turns.quiet()
        for _ in range(20):  # webhooks follow each other, and each is a turn
            if self.posting.done():
                break
            self.replace_dead()
            await asyncio.sleep(0)
            await self.ground.turns.quiet()

    async def post(self, posting: Posting) -> int | None:
        """A webhook arrives at some web process; None where it died over it."""
        self.hooks += 1
        answered: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        async def work(process: MoneyProcess) -> None:
            status: int | None = None
            try:
                await receive(process.ctx, process.desk, "stripe", posting.headers, posting.body)
                status = 204
            except Malformed:
                status = 400
            except GanglionError:
                status = 503
            finally:
                if not answered.done():
                    answered.set_result(status)

        self.begin(f"hook of {self.hooks}", work)
        return await answered

    async def ask_payout(self, process: MoneyProcess, provider: AccountId) -> None:
        await request(process.ctx, process.terms, provider)


async def make_world(seed: int, url: str, clock: ManualClock) -> tuple[World, PlainDb]:
    """Everyone is there; nobody has any money."""
    chance = Random(seed)
    db = PlainDb(url)
    trace = Trace(clock)
    mood = chance.choice((0.3, 1.0, 2.0))
    rates = {name: rate * mood for name, rate in RATES.items()}
    ground = Ground(
        db=db,
        clock=clock,
        ids=SeededIds(clock, seed),
        turns=Turns(Random(seed + 1), clock),
        faults=Faults(Random(seed + 2), rates),
        trace=trace,
        chance=chance,
    )
    ctx = Ctx(db=db, clock=clock, ids=ground.ids)
    app = make_app(clock, Random(seed + 3), rules=Rules(calls_per_second=0))
    app.book.url = "http://stripe"
    momo = MomoDesk(
        clock=clock,
        chance=Random(seed + 4),
        keys={"collection": COLLECTION_KEY, "disbursement": DISBURSEMENT_KEY},
        users={USER: USER_KEY},
    )
    gateway = Gateway(Random(seed + 5), Made())
    ids = [ctx.ids.new(AccountId) for _ in range(5)]
    world = World(
        seed=seed,
        chance=chance,
        clock=clock,
        ground=ground,
        ctx=ctx,
        outside=Outside(app, momo),
        meter=Meter(Random(seed + 6), gateway),
        people=ids[:2],
        renter=ids[2],
        providers=ids[3:],
    )
    for number in range(WORKERS):
        made = money_process(ground, world.outside, f"brain-{number}")
        world.processes.append(made)
    app.post = world.post
    add_webhook(app, HOOK)
    await _settle_in(world)
    return world, db


async def _settle_in(world: World) -> None:
    """Customers with cards, providers with destinations, one GPU in the pool."""
    ctx, process = world.ctx, world.processes[0]
    world.faults.on = False
    for account in world.accounts:
        customer = await service.customer_of(ctx, process.desk, account)
        method = save_card(world, customer, "pm_card_visa")
        if world.chance.random() < 0.5:
            wish = refill_wish(world, enabled=True)
            await service.set_refill(ctx, process.desk, account, wish)
        if world.chance.random() < 0.3:
            change_card(world.stripe, method["id"], {"decline": "insufficient_funds"})
    async with ctx.db.begin() as tx:
        await billing.set_currency_rate(tx, "EUR", Money.usd("1.10"), ctx.clock.now())
        for provider in world.providers:
            await save_provider(tx, provider, "Nodes", ctx.clock.now())
    for provider in world.providers:
        wish = Wish("momo", world.chance.choice(NUMBERS), "EUR", automatic=True)
        await register(ctx, process.terms, provider, wish)
    await world.meter.gateway.hello(ctx, 5 * NS)
    await world.meter.open(ctx, pool_terms(ctx, world.providers[0]))
    world.meter.until_ns = world.clock.now_ns()
    world.faults.on = True


def refill_wish(world: World, *, enabled: bool) -> RefillWish:
    """Below a few dollars, or whatever there is: then the caps are what ends it."""
    return RefillWish(
        enabled=enabled,
        threshold=Money.usd(world.chance.choice(("5", "500"))),
        amount=REFILL,
        day_max=DAY_MAX,
        month_max=MONTH_MAX,
        card=None,
    )


def save_card(world: World, customer: str, card: str) -> Thing:
    """What a person does on the processor's page."""
    method = usable(world.stripe, card)
    attach_to(world.stripe, method, customer)
    settings = world.stripe.table("customer")[customer]["invoice_settings"]
    settings["default_payment_method"] = method["id"]
    return method
