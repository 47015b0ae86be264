"""What people, banks and the weather do in one step, by chance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import select

from brain.payments import refunds, service
from brain.payments.models import TopUp
from brain.payments.reconcile import refund_now, step_now
from brain.payments.refunds import RefundWish
from brain.payments.service import TopUpWish
from kernel.clock import NS
from kernel.ids import AccountId
from kernel.money import Money
from standins.payments.front import Fault as MomoFault
from standins.payments.stripe.call import Call
from standins.payments.stripe.checkout import pay
from standins.payments.stripe.disputes import OVER, decide, open_dispute
from standins.payments.stripe.faults import Fault, FaultKind, When
from standins.payments.stripe.forms import Params
from standins.payments.stripe.hooks import Manners
from standins.payments.stripe.methods import change_card
from standins.payments.stripe.refusals import Refused
from tests.sim.money.meter import RATE, pool_terms
from tests.sim.money.process import MoneyProcess
from tests.sim.money.world import World, refill_wish

DECLINES = ("insufficient_funds", "generic_decline", "expired_card", "processing_error")
CARDS = ("pm_card_visa", "pm_card_chargeDeclined", "pm_card_mastercard")
# Pays, pays after a while, is refused on the phone, does not exist.
PHONES = ("256772123456", "46733123454", "46733123451", "46733123455")
MOMO_CALLS = ("requesttopay", "look_requesttopay", "refund", "look_refund", "transfer", "token")
STORMS = (((1, 1), 0.5), ((1, 3), 0.35), ((1, 20), 0.15))
JUMP_NS = (-2 * NS, 300 * NS)


async def trouble(world: World) -> float:
    """Decide what happens; returns how long the step is."""
    await _people(world)
    _banks(world)
    _outside(world)
    now = world.clock.now_ns()
    world.meter.ask(world.ctx, world.people, now)
    return _seconds(world)


def _seconds(world: World) -> float:
    """Mostly moments; sometimes an hour; the wall clock may jump by itself."""
    roll = world.chance.random()
    if roll < 0.04:
        jump = world.chance.randrange(*JUMP_NS)
        world.clock.set_wall(world.clock.now_ns() + jump)
        world.trace.add("time", f"the wall clock jumps by {jump / NS:.0f} s")
        world.faults.happens("clock_jump")
    if roll > 0.9:
        return world.chance.uniform(600, 4 * 3600)
    return world.chance.uniform(1, 30)


async def _people(world: World) -> None:
    account = world.chance.choice(world.accounts)
    acts: list[tuple[float, str, Callable[[MoneyProcess], Awaitable[object]]]] = [
        (0.35, "top-up", lambda p: top_up(world, p, account)),
        (0.12, "page", lambda p: top_up(world, p, account, method=service.PAGE)),
        (0.15, "phone", lambda p: top_up(world, p, account, method="mobile_money")),
        (0.12, "refund", lambda p: give_back(world, p)),
        (0.15, "refill", lambda p: refill(world, p, account)),
        (0.6, "slice", lambda p: world.meter.gateway.slice(p, world.chance.choice(world.people))),
        (0.15, "lease", lambda p: rent(world, p)),
        (0.15, "payout", lambda p: world.ask_payout(p, world.providers[0])),
    ]
    for share, name, work in acts:
        if world.chance.random() < share:
            times = 3 if name == "payout" else 1  # at once, on several processes
            for number in range(times):
                world.begin(f"{name} of {number}", work)
    gateway = world.meter.gateway
    if gateway.slices and world.chance.random() < 0.2:
        account_back = world.chance.choice(sorted(gateway.slices))
        gateway.back.append(gateway.slices.pop(account_back))


async def top_up(
    world: World, process: MoneyProcess, account: AccountId, *, method: str = service.CARD
) -> None:
    """What the route does, in the same order."""
    payer = world.chance.choice(PHONES) if method == "mobile_money" else None
    wish = TopUpWish(account, Money.usd(str(world.chance.randint(5, 60))), method, payer)
    pays = await service.payer_for(process.ctx, process.desk, wish)
    async with process.ctx.db.begin() as tx:
        row = await service.open_topup(tx, process.ctx, process.desk, wish, pays)
    await step_now(process.ctx, process.desk, row.topup_id)


async def give_back(world: World, process: MoneyProcess) -> None:
    """A refund of what is left of some paid top-up."""
    async with process.ctx.db.begin() as tx:
        paid = select(TopUp).where(TopUp.state == "paid").order_by(TopUp.topup_id)
        rows = (await tx.scalars(paid)).all()
    if not rows:
        return
    row = world.chance.choice(rows)
    amount = None if world.chance.random() < 0.4 else world.chance.randint(100, 2000)
    wish = RefundWish(row.topup_id, None, amount, "asked for", "admin")
    async with process.ctx.db.begin() as tx:
        reversal = await refunds.plan(tx, process.ctx, process.desk, wish)
    await refund_now(process.ctx, process.desk, reversal.refund_id)


async def refill(world: World, process: MoneyProcess, account: AccountId) -> None:
    enabled = world.chance.random() < 0.9
    wish = refill_wish(world, enabled=enabled)
    await service.set_refill(process.ctx, process.desk, account, wish)


async def rent(world: World, process: MoneyProcess) -> None:
    """The renter takes a GPU of his own, or gives it back."""
    own = [
        one
        for one, terms in world.meter.leases.items()
        if terms.payer == world.renter and one not in world.meter.closing
    ]
    if own:
        await world.meter.close(process, own[0])
        return
    provider = world.providers[0]
    rate = {"renter_rate_nano": RATE, "provider_rate_nano": RATE}
    terms = pool_terms(world.ctx, provider, payer=world.renter, mode="dedicated", **rate)
    opened = await world.meter.open(process.ctx, terms)
    process.note("rents a GPU" if opened else "has no credit for a GPU")


def _banks(world: World) -> None:
    """Banks change their minds; owners of cards complain, pay pages, and prove who they are."""
    chance, desk = world.chance, world.stripe
    methods = [row["id"] for row in desk.table("payment_method").values() if row["customer"]]
    if methods and chance.random() < 0.25:
        decline = chance.choice(("", "", "", *DECLINES))
        slow = chance.choice((0.0, 0.0, 40.0))
        asks = chance.choice(("never", "never", "never", "always"))
        changes = {"decline": decline, "processing_seconds": slow, "authenticate": asks}
        change_card(desk, chance.choice(methods), changes)
        world.trace.add("bank", f"{decline or 'accepts'} {slow:.0f} s {asks}")
    for session in list(desk.table("checkout.session").values()):
        if session["status"] == "open" and chance.random() < 0.4:
            try:
                pay(Call(desk, Params({})), session, chance.choice(CARDS))
            except Refused as refused:
                world.trace.add("payer", refused.message[:60])
    _complain(world)


def _complain(world: World) -> None:
    chance, desk = world.chance, world.stripe
    charges = [c for c in desk.table("charge").values() if c["captured"] and not c["disputed"]]
    if charges and chance.random() < 0.06:
        charge = chance.choice(charges)
        left = charge["amount"] - charge["amount_refunded"]
        if left > 0 and charge.get("dispute") is None:
            open_dispute(desk, charge, "fraudulent", amount=left)
            world.faults.happens("dispute")
            world.trace.add("bank", f"dispute of {left}")
    for dispute in list(desk.table("dispute").values()):
        if dispute["status"] not in OVER and chance.random() < 0.1:
            decide(desk, dispute, chance.choice(("won", "lost")))


def _outside(world: World) -> None:
    """How the processor answers, and how its webhooks come."""
    chance, shell = world.chance, world.outside.stripe.shell
    if chance.random() < 0.2:
        kind = chance.choice([k for k in FaultKind if k != FaultKind.SILENT])
        when = chance.choice(list(When))
        count = chance.randint(1, 3)
        shell.faults.add([Fault(kind, when=when, next=count, seconds=60, call="POST")])
        world.faults.happens(f"stripe_{kind}")
    if chance.random() < 0.2:
        call, kind_of = chance.choice(MOMO_CALLS), chance.choice(("before", "after"))
        world.outside.momo.faults.add(MomoFault(call, kind_of, chance.choice((0, 500, 503))))
        world.faults.happens(f"momo_{kind_of}")
    copies = chance.choices([pair for pair, _ in STORMS], [share for _, share in STORMS])[0]
    shell.hooks.manners = Manners(
        copies=copies,
        delay_seconds=(0.0, chance.choice((0.0, 5.0, 3600.0))),
        drop=chance.choice((0.0, 0.0, 0.3)),
        forge=0.15,
        first=chance.random() < 0.1,
    )
    if copies != (1, 1):
        world.faults.happens("webhook_storm")


def peace(world: World) -> None:
    """Nothing goes wrong any more."""
    world.at_peace = True
    world.faults.on = False
    world.outside.stripe.shell.faults.clear()
    world.outside.momo.faults.clear()
    world.outside.stripe.shell.hooks.manners = Manners()
    good = {"decline": "", "processing_seconds": 0.0, "authenticate": "never"}
    for method in world.outside.stripe.book.hidden:
        change_card(world.stripe, method, good)
