"""Webhooks: endpoints, signatures, and a queue that retries, doubles, delays, shuffles, forges.

Nothing is sent here. A front takes what is due, posts it and says how that went.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kernel.clock import NS
from standins.payments.stripe.book import Book, Desk, Thing
from standins.payments.stripe.call import Call, Routes
from standins.payments.stripe.refusals import invalid

ENDPOINTS_MAX = 16
COPIES_MAX = 20
WAITING_MAX = 100_000
STALE_SECONDS = 3600  # how old the time of a stale forgery is
SENT_KEPT_MAX = 10_000


class Forgery(StrEnum):
    """How a delivery is wrong: no client may believe it."""

    SIGNATURE = "signature"  # by another secret
    BODY = "body"  # changed after it was signed
    STALE = "stale"  # signed long ago, sent again
    BARE = "bare"  # without a signature


@dataclass(frozen=True, slots=True)
class Manners:
    """How events are delivered from now on. Pairs are (least, most); shares are 0..1."""

    copies: tuple[int, int] = (1, 1)
    delay_seconds: tuple[float, float] = (0.0, 0.0)  # differing delays also reorder
    drop: float = 0.0  # never sent, nor retried
    forge: float = 0.0  # so many deliveries are joined by a forged one
    first: bool = False  # deliveries are made before the answer of the call that caused them
    hold: bool = False  # all wait until they are let go


@dataclass(slots=True)
class Delivery:
    endpoint: str
    desk: Desk
    event: Thing
    due_ns: int
    attempt: int = 0
    forged: Forgery | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """One HTTP POST to make."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Sent:
    """What became of one delivery, for tests and people."""

    event: str
    type: str
    endpoint: str
    attempt: int
    forged: str
    status: int | None


@dataclass
class Hooks:
    """The deliveries to come. ``due`` hands out what is to be posted now."""

    book: Book
    manners: Manners = field(default_factory=Manners)
    waiting: list[Delivery] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    def heard(self, desk: Desk, event: Thing) -> None:
        """Queue a new event for each endpoint that wants it."""
        chance, manners = self.book.chance, self.manners
        for endpoint in self._wanting(desk, event):
            event["pending_webhooks"] += 1
            if manners.drop and chance.random() < manners.drop:
                continue
            for _ in range(chance.randint(*manners.copies)):
                self._queue(endpoint, desk, event)
            if manners.forge and chance.random() < manners.forge:
                self._queue(endpoint, desk, event, chance.choice(list(Forgery)))

    def _wanting(self, desk: Desk, event: Thing) -> list[str]:
        endpoints = self.book.platform.table("webhook_endpoint").values()
        return [
            one["id"]
            for one in endpoints
            if one["status"] == "enabled"
            and bool(desk.account) == one["connect"]
            and ("*" in one["enabled_events"] or event["type"] in one["enabled_events"])
        ]

    def _queue(
        self, endpoint: str, desk: Desk, event: Thing, forged: Forgery | None = None
    ) -> None:
        if len(self.waiting) >= WAITING_MAX:
            raise ValueError(f"more than {WAITING_MAX} deliveries wait: let them go, or clear them")
        delay = round(self.book.chance.uniform(*self.manners.delay_seconds) * NS)
        due = self.book.now_ns + delay
        self.waiting.append(Delivery(endpoint, desk, event, due, forged=forged))

    def again(self, wanted: str, copies: int, forged: Forgery | None = None) -> int:
        """Queue an event once more, as it is or forged; returns how many were queued."""
        for desk in self.book.desks.values():
            event = desk.table("event").get(wanted)
            if event is not None:
                endpoints = self._wanting(desk, event)
                for endpoint in endpoints * min(copies, COPIES_MAX):
                    self._queue(endpoint, desk, event, forged)
                return len(endpoints) * min(copies, COPIES_MAX)
        raise ValueError(f"no event {wanted}")

    def let_go(self, *, shuffle: bool) -> int:
        """Everything that waits, retries too, is due now, in its order or in none."""
        now_ns = self.book.now_ns
        if shuffle:
            self.book.chance.shuffle(self.waiting)
        for delivery in self.waiting:
            delivery.due_ns = now_ns
        self.manners = replace(self.manners, hold=False)
        return len(self.waiting)

    def due(self) -> list[Delivery]:
        """Take what is due, oldest first; each must be answered by ``done``."""
        if self.manners.hold:
            return []
        now_ns = self.book.now_ns
        ready = sorted((d for d in self.waiting if d.due_ns <= now_ns), key=lambda d: d.due_ns)
        self.waiting = [d for d in self.waiting if d.due_ns > now_ns]
        return ready

    def posting(self, delivery: Delivery) -> Posting | None:
        """What to send; None when the endpoint is gone. The time is the machine's own."""
        endpoint = self.book.platform.table("webhook_endpoint").get(delivery.endpoint)
        if endpoint is None or endpoint["status"] != "enabled":
            return None
        at = self.book.clock.now_ns() // NS
        body = json.dumps(delivery.event, indent=2).encode()
        signed = body
        secret = self.book.secrets[endpoint["id"]]
        if delivery.forged == Forgery.SIGNATURE:
            secret = "whsec_of_somebody_else"  # noqa: S105 (a forger's)
        elif delivery.forged == Forgery.STALE:
            at -= STALE_SECONDS
        elif delivery.forged == Forgery.BODY:
            body = body.replace(b'"livemode": false', b'"livemode":  false', 1)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (ganglion-stand-in)",
            "stripe-signature": signature(signed, secret, at),
        }
        if delivery.forged == Forgery.BARE:
            del headers["stripe-signature"]
        return Posting(endpoint["url"], headers, body)

    def done(self, delivery: Delivery, status: int | None) -> None:
        """``status`` None: nobody answered. What is not 2xx is tried again; forgeries never."""
        forged = str(delivery.forged or "")
        event = delivery.event
        self.sent.append(
            Sent(event["id"], event["type"], delivery.endpoint, delivery.attempt, forged, status)
        )
        del self.sent[:-SENT_KEPT_MAX]
        if forged:
            return
        if status is not None and 200 <= status < 300:
            event["pending_webhooks"] = max(event["pending_webhooks"] - 1, 0)
            return
        waits = self.book.rules.retry_seconds
        if delivery.attempt < len(waits):
            due = self.book.now_ns + round(waits[delivery.attempt] * NS)
            self.waiting.append(replace(delivery, attempt=delivery.attempt + 1, due_ns=due))


def signature(body: bytes, secret: str, at: int) -> str:
    """The value of ``Stripe-Signature``."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


# --- webhook endpoints and events as calls --------------------------------------------------------


def make_endpoint(
    book: Book, url: str, events: list[str], *, connect: bool, secret: str = ""
) -> Thing:
    """A new endpoint; its ``secret`` is told this once."""
    table = book.platform.table("webhook_endpoint")
    if len(table) >= ENDPOINTS_MAX:
        raise invalid(f"You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints.")
    endpoint = book.platform.make(
        "webhook_endpoint",
        "we",
        api_version=None,
        application=None,
        connect=connect,
        description=None,
        enabled_events=events,
        metadata={},
        status="enabled",
        url=url,
    )
    book.secrets[endpoint["id"]] = secret or book.new_id("whsec", 32)
    return endpoint | {"secret": book.secrets[endpoint["id"]]}


def create(call: Call) -> Thing:
    params = call.params
    url, events = params.must("url"), params.texts("enabled_events")
    connect = params.flag("connect") or False
    metadata, description = params.metadata(), params.text("description")
    params.ignore("api_version")
    params.done()
    if not url.startswith(("http://", "https://")):
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", "url")
    if not events:
        raise invalid("Missing required param: enabled_events.", "enabled_events")
    made = make_endpoint(call.book, url, events, connect=connect)
    kept = call.book.platform.table("webhook_endpoint")[made["id"]]
    kept |= {"metadata": metadata, "description": description}
    return made | kept


def update(call: Call) -> Thing:
    endpoint = call.book.platform.find("webhook_endpoint", call.ids[0])
    params = call.params
    url, events = params.text("url"), params.texts("enabled_events")
    off, metadata = params.flag("disabled"), params.metadata(endpoint["metadata"])
    params.ignore("description")
    params.done()
    endpoint |= {"url": url or endpoint["url"], "metadata": metadata}
    endpoint["enabled_events"] = events or endpoint["enabled_events"]
    if off is not None:
        endpoint["status"] = "disabled" if off else "enabled"
    return endpoint


def delete(call: Call) -> Thing:
    call.params.done()
    endpoint = call.book.platform.find("webhook_endpoint", call.ids[0])
    del call.book.platform.table("webhook_endpoint")[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def _of_platform(kind: str) -> Callable[[Call], Thing]:
    def retrieve(call: Call) -> Thing:
        call.params.done()
        return call.book.platform.find(kind, call.ids[0])

    return retrieve


def list_endpoints(call: Call) -> Thing:
    rows = call.book.platform.table("webhook_endpoint").values()
    return call.page("webhook_endpoint", rows)


def retrieve_event(call: Call) -> Thing:
    call.params.done()
    return call.desk.find("event", call.ids[0])


def list_events(call: Call) -> Thing:
    kind, kinds = call.params.text("type"), call.params.texts("types")
    rows = [
        row
        for row in call.desk.table("event").values()
        if kind in (None, row["type"]) and (not kinds or row["type"] in kinds)
    ]
    return call.page("event", rows)


ROUTES: Routes = {
    ("POST", "/v1/webhook_endpoints"): create,
    ("GET", "/v1/webhook_endpoints"): list_endpoints,
    ("GET", "/v1/webhook_endpoints/*"): _of_platform("webhook_endpoint"),
    ("POST", "/v1/webhook_endpoints/*"): update,
    ("DELETE", "/v1/webhook_endpoints/*"): delete,
    ("GET", "/v1/events"): list_events,
    ("GET", "/v1/events/*"): retrieve_event,
}
