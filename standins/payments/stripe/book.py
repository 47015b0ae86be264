"""What the emulated Stripe knows: accounts, their objects, events, money, and what is due when.

Objects are kept as the API shows them. Everything due happens in its order before the next call
is answered, however long nobody asked.
"""

from __future__ import annotations

import copy
import heapq
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kernel.clock import NS, Clock
from standins.payments.stripe.cards import Card
from standins.payments.stripe.refusals import invalid, no_such

API_VERSION = "2026-10-28.endive"
LETTERS = string.ascii_letters + string.digits
DAY = 86_400
Thing = dict[str, Any]
RIPE_SECONDS = 2 * DAY  # until a card's money is available

# The word for a kind of object in "No such …", and its path.
KINDS = {
    "customer": ("customer", "/v1/customers"),
    "payment_method": ("PaymentMethod", "/v1/payment_methods"),
    "setup_intent": ("setupintent", "/v1/setup_intents"),
    "payment_intent": ("payment_intent", "/v1/payment_intents"),
    "charge": ("charge", "/v1/charges"),
    "refund": ("refund", "/v1/refunds"),
    "dispute": ("dispute", "/v1/disputes"),
    "checkout.session": ("checkout.session", "/v1/checkout/sessions"),
    "account": ("account", "/v1/accounts"),
    "transfer": ("transfer", "/v1/transfers"),
    "transfer_reversal": ("transfer_reversal", "/v1/transfers"),
    "payout": ("payout", "/v1/payouts"),
    "bank_account": ("external account", "/v1/accounts"),
    "balance_transaction": ("balance transaction", "/v1/balance_transactions"),
    "event": ("event", "/v1/events"),
    "webhook_endpoint": ("webhook endpoint", "/v1/webhook_endpoints"),
}


@dataclass(slots=True)
class Hidden:
    """What a payment method's API object does not tell."""

    card: Card
    set_up: bool = False
    used_up: bool = False  # detached, or used without a customer


@dataclass(slots=True)
class Rules:
    """How this Stripe behaves."""

    fee_per_mille: int = 29
    fee_fixed: int = 30
    dispute_fee: int = 1500
    ripe_seconds: int = RIPE_SECONDS
    calls_per_second: int = 100
    retry_seconds: tuple[float, ...] = (5, 60, 600, 3600, 6 * 3600, 12 * 3600, DAY, DAY)


@dataclass
class Desk:
    """One account's objects: the platform's ("") or a connected account's."""

    book: Book
    account: str
    tables: dict[str, dict[str, Thing]] = field(default_factory=dict)

    @property
    def now(self) -> int:
        return self.book.now

    def table(self, kind: str) -> dict[str, Thing]:
        return self.tables.setdefault(kind, {})

    def make(self, kind: str, prefix: str, **fields: Any) -> Thing:
        """A new object with what every object has."""
        thing: Thing = {"id": self.book.new_id(prefix), "object": kind}
        thing |= {"created": self.now, "livemode": False, **fields}
        self.table(kind)[thing["id"]] = thing
        return thing

    def find(self, kind: str, wanted: str, *, param: str = "") -> Thing:
        """Raises ``Refused``: 404, or 400 where a parameter names it."""
        thing = self.table(kind).get(wanted)
        if thing is None:
            raise no_such(KINDS[kind][0], wanted, param=param)
        return thing

    def emit(self, kind: str, thing: Thing, before: Thing | None = None) -> None:
        """An event with the object as it is now; ``before``: what was other, for updates."""
        self.book.emit(self, kind, thing, before)


class Book:
    """The whole emulated Stripe. Synchronous; one thread at a time."""

    def __init__(self, clock: Clock, chance: random.Random, rules: Rules | None = None) -> None:
        self.clock = clock
        self.chance = chance
        self.rules = rules or Rules()
        self.url = "http://127.0.0.1"  # of the pages; the front says where it listens
        self.desks: dict[str, Desk] = {"": Desk(self, "")}
        self.hidden: dict[str, Hidden] = {}
        self.secrets: dict[str, str] = {}  # of webhook endpoints
        self.banks: dict[str, str] = {}  # account numbers of connected accounts
        self.asked: dict[str, Thing] = {}  # what checkout sessions will make
        self.request: Thing = {"id": None, "idempotency_key": None}
        self.listeners: list[Callable[[Desk, Thing], None]] = []
        self._ahead_ns = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    # --- time ---------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns() + self._ahead_ns

    @property
    def now(self) -> int:
        return self.now_ns // NS

    def move_clock(self, seconds: float) -> None:
        """This Stripe's own clock goes ahead of the machine's; what is due happens."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._ahead_ns += round(seconds * NS)
        self.advance()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._count += 1
        due = self.now_ns + round(seconds * NS)
        heapq.heappush(self._due, (due, self._count, act))

    def advance(self) -> None:
        """Let everything happen that is due by now."""
        now_ns = self.now_ns
        while self._due and self._due[0][0] <= now_ns:
            _, _, act = heapq.heappop(self._due)
            act()

    # --- accounts and objects -----------------------------------------------------------------

    @property
    def platform(self) -> Desk:
        return self.desks[""]

    def desk(self, account: str) -> Desk:
        """The objects of a connected account, by ``Stripe-Account``."""
        if account and account not in self.platform.table("account"):
            raise no_such("account", account)
        return self.desks.setdefault(account, Desk(self, account))

    def new_id(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_{''.join(self.chance.choices(LETTERS, k=length))}"

    def resolve(self, desk: Desk, wanted: str) -> Thing | None:
        """An object by its id alone, for ``expand``."""
        for each in (desk, self.platform):
            for table in each.tables.values():
                if wanted in table:
                    return table[wanted]
        return None

    def emit(self, desk: Desk, kind: str, thing: Thing, before: Thing | None) -> None:
        content: Thing = {"object": copy.deepcopy(thing)}
        if before is not None:
            content["previous_attributes"] = before
        event = desk.make(
            "event",
            "evt",
            type=kind,
            api_version=API_VERSION,
            data=content,
            pending_webhooks=0,
            request=dict(self.request),
        )
        if desk.account:
            event["account"] = desk.account
        for listener in self.listeners:
            listener(desk, event)


# --- lists and expanding --------------------------------------------------------------------------

PAGE_MAX = 100
EXPAND_DEPTH_MAX = 4


@dataclass(slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int = 10
    starting_after: str = ""
    ending_before: str = ""
    created: dict[str, int] = field(default_factory=dict)


def listed(rows: Iterator[Thing], url: str, page: Page, *, kind: str = "") -> Thing:
    """Newest first; cursors name an object of the list. A limit out of 1..100 is clamped."""
    wanted = [row for row in rows if _made_in(row, page.created)][::-1]
    limit = min(max(page.limit, 1), PAGE_MAX)
    more = False
    if page.ending_before:
        at = _place(wanted, page.ending_before, kind, "ending_before")
        more = at > limit
        wanted = wanted[max(at - limit, 0) : at]
    else:
        if page.starting_after:
            at = _place(wanted, page.starting_after, kind, "starting_after")
            wanted = wanted[at + 1 :]
        more = len(wanted) > limit
        wanted = wanted[:limit]
    return {"object": "list", "url": url, "has_more": more, "data": wanted}


def _place(rows: list[Thing], wanted: str, kind: str, param: str) -> int:
    for number, row in enumerate(rows):
        if row["id"] == wanted:
            return number
    raise no_such(KINDS.get(kind, (kind or "object",))[0], wanted, param=param)


def _made_in(row: Thing, created: dict[str, int]) -> bool:
    at = int(row.get("created", 0))
    checks = {
        "gt": lambda bound: at > bound,
        "gte": lambda bound: at >= bound,
        "lt": lambda bound: at < bound,
        "lte": lambda bound: at <= bound,
        "is": lambda bound: at == bound,
    }
    return all(checks[name](bound) for name, bound in created.items())


def expanded(desk: Desk, thing: Thing, paths: list[str]) -> Thing:
    """A copy in which the named ids are the objects themselves."""
    copied = copy.deepcopy(thing)
    for path in paths:
        places = path.split(".")
        if len(places) > EXPAND_DEPTH_MAX:
            words = f"You cannot expand more than {EXPAND_DEPTH_MAX} levels of a property"
            raise invalid(f"{words} (property: {path}).", "expand")
        _expand(desk, copied, places, path)
    return copied


def _expand(desk: Desk, at: Any, places: list[str], path: str) -> None:
    if isinstance(at, list):
        for one in at:
            _expand(desk, one, places, path)
        return
    if not places or at is None:
        return
    if not isinstance(at, dict) or places[0] not in at:
        words = f"This property cannot be expanded ({path})."
        raise invalid(f"{words} You may want to try expanding a different property.", "expand")
    value = at[places[0]]
    if isinstance(value, str):
        found = desk.book.resolve(desk, value)
        if found is not None:
            at[places[0]] = copy.deepcopy(found)
    _expand(desk, at[places[0]], places[1:], path)
