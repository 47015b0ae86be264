"""Names and pace of the ticks that Celery carries, and the hint that wakes one early.

Ticks find their work in PostgreSQL; losing every message costs latency, never work.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger(__name__)

DEPLOYMENTS: Final = "ganglion.deployments"
PODS: Final = "ganglion.pods"
LEASES: Final = "ganglion.leases"
SETTLE: Final = "ganglion.settle"
ACCRUE: Final = "ganglion.accrue"
RELEASE: Final = "ganglion.release"
TIDY: Final = "ganglion.tidy"
INTENTS: Final = "ganglion.intents"
SWEEP: Final = "ganglion.sweep"
OFFERS: Final = "ganglion.offers"
TRUST: Final = "ganglion.trust"
HISTORY: Final = "ganglion.history"
WITNESS: Final = "ganglion.witness"
INVOICES: Final = "ganglion.invoices"
RECEIPTS: Final = "ganglion.receipts"
COSTS: Final = "ganglion.costs"
CLOUD_BILLS: Final = "ganglion.cloud-bills"
PROVE: Final = "ganglion.prove"
WARN: Final = "ganglion.warn"
MAIL: Final = "ganglion.mail"
KEY_LIMITS: Final = "ganglion.key-limits"
PAYOUTS: Final = "ganglion.payouts"
PAYOUT_RUN: Final = "ganglion.payout-run"
PAYMENTS: Final = "ganglion.payments"
REFILLS: Final = "ganglion.refills"
PAYMENT_BOOKS: Final = "ganglion.payment-books"

# What the beat sends each second: the names of the kinds whose time it is, in one message.
TICKS: Final = "ganglion.ticks"
BEAT_SECONDS: Final = 1

# Seconds between two ticks of a kind.
CADENCE_SECONDS: Final[dict[str, int]] = {
    DEPLOYMENTS: 1,
    PODS: 2,
    LEASES: 1,
    SETTLE: 1,
    ACCRUE: 2,
    RELEASE: 2,
    TIDY: 60,
    INTENTS: 1,
    SWEEP: 300,
    OFFERS: 5,
    TRUST: 2,
    HISTORY: 15,
    WITNESS: 30,
    INVOICES: 60,
    RECEIPTS: 5,
    COSTS: 30,
    CLOUD_BILLS: 3600,
    PROVE: 600,
    WARN: 5,
    MAIL: 3,
    KEY_LIMITS: 5,
    PAYOUTS: 5,
    PAYOUT_RUN: 900,
    PAYMENTS: 1,
    REFILLS: 5,
    PAYMENT_BOOKS: 60,
}
# Ticks that do nothing but step work rows of these tables; they run when one is due.
STEPS: Final[dict[str, tuple[str, ...]]] = {
    DEPLOYMENTS: ("deployment", "replica"),
    INTENTS: ("provision_intent",),
    MAIL: ("outbox",),
    PAYOUTS: ("payout",),
    PAYMENTS: ("topup", "topup_reversal"),
    REFILLS: ("auto_refill",),
}
# A tick that waited longer is dropped: the next one does the same.
EXPIRES_SECONDS: Final = 5
# Kinds at a pace of up to this many seconds are spread over the beats.
SPREAD_SECONDS_MAX: Final = 5
VISIBILITY_SECONDS: Final = 3600
QUEUE: Final = "ganglion"
HINT_PAUSE_SECONDS: Final = 0.05


def due(beat: int) -> list[str]:
    """The kinds that the nth beat wakes. A message for each would cost more than most ticks do."""
    return [kind for kind, every in CADENCE_SECONDS.items() if beat % every == _FIRST[kind] % every]


def _spread() -> dict[str, int]:
    """Kinds of one pace fall on different beats, where the pace is quick."""
    first, of_pace = {}, Counter[int]()
    for kind, every in CADENCE_SECONDS.items():
        first[kind] = of_pace[every] if every <= SPREAD_SECONDS_MAX else 0
        of_pace[every] += 1
    return first


_FIRST: Final = _spread()


def make_celery(redis_url: str) -> Celery:
    """The application that both sides share: JSON only, no results kept, limits on waiting."""
    from celery import Celery  # the web process needs it only at its first hint

    app = Celery("ganglion", broker=broker_url(redis_url))
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=2,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
        },
        enable_utc=True,
        timezone="UTC",
    )
    return app


def broker_url(redis_url: str) -> str:
    """As Celery writes it: a socket is ``redis+socket://``."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://")
    return redis_url


class Wake:
    """Sends a tick ahead of its time, in a thread of its own, at most twenty times a second.

    A broker that is away costs one quick try, and nothing waits for it, an exit included.
    """

    def __init__(self, redis_url: str, task: str = DEPLOYMENTS) -> None:
        self._redis_url = redis_url
        self._app: Celery | None = None
        self._task = task
        self._asked = False
        self._sending = threading.Lock()
        self._closed = threading.Event()

    def __call__(self) -> None:
        """Returns at once and never fails: the beat's tick comes in any case."""
        self._asked = True
        if self._closed.is_set() or not self._sending.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._run, name="wake", daemon=True).start()
        except RuntimeError as failure:  # no more threads
            self._sending.release()
            log.info("hint_not_sent", failure=str(failure))

    def close(self) -> None:
        """Send no more. What is on its way is not waited for."""
        self._closed.set()

    def _run(self) -> None:
        """What is asked for while a hint is on its way may be about something newer: once more."""
        while True:
            self._asked = False
            self._send()
            self._closed.wait(HINT_PAUSE_SECONDS)
            self._sending.release()
            again = self._asked and not self._closed.is_set()
            if not (again and self._sending.acquire(blocking=False)):
                return

    def _send(self) -> None:
        try:
            self._app = self._app or self._make()
            self._app.send_task(
                self._task, expires=EXPIRES_SECONDS, retry=False, ignore_result=True
            )
        except Exception as failure:  # a hint only
            log.info("hint_not_sent", failure=type(failure).__name__)

    def _make(self) -> Celery:
        made = make_celery(self._redis_url)
        made.conf.broker_transport_options |= {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "connect_retries_timeout": 2,
        }
        return made
