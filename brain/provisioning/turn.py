"""What one pass of the reconciler works with, and how it asks a cloud: bounded, shared, typed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from brain import fleet
from brain.clouds import (
    Broke,
    Cloud,
    CloudError,
    CredentialsRefused,
    Listing,
    OutcomeUnknown,
    Unreadable,
)
from brain.plumbing import Ctx, Tx
from brain.provisioning import store
from brain.provisioning.core import CALL_SECONDS_MAX, LeaseSight
from brain.provisioning.models import Intent
from brain.provisioning.states import AccountEvent, AccountState
from brain.secrets import Vault
from kernel.wire.agent import LeaseSeenState

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Terms:
    """What wiring hands over. Join tokens are derived from ``secret``."""

    installation_id: str
    brain_url: str
    code_sha256: str
    secret: bytes = field(repr=False)
    boot_image: str = ""


class Stale(Exception):
    """Another worker holds the row by now: roll back and forget."""


class Saved(Protocol):
    """Let go of the row within its last transaction, due again in ``seconds`` (None: never).

    Raises ``Stale`` when the row was taken over meanwhile.
    """

    async def __call__(self, tx: Tx, row: Intent, seconds: float | None) -> None: ...


@dataclass
class Looks:
    """Each cloud's newest listing, so that many machines share one call. Kept over passes."""

    _kept: dict[str, tuple[int, int, Listing | CloudError]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def listing(self, ctx: Ctx, cloud: Cloud, since_ns: int) -> tuple[Listing, int]:
        """A complete listing that was begun at ``since_ns`` (monotonic) or later, and the business
        time at which it was; else raises.

        A failure is shared as well: one call tells all who wait that the cloud is away.
        """
        lock = self._locks.setdefault(cloud.name, asyncio.Lock())
        async with lock:
            kept = self._kept.get(cloud.name)
            if kept is None or kept[0] < since_ns:
                begun = (ctx.clock.monotonic_ns(), ctx.clock.now_ns())
                kept = (*begun, await _look(cloud))
                self._kept[cloud.name] = kept
        _, at_ns, found = kept
        if isinstance(found, CloudError):
            raise found
        return found, at_ns


@dataclass(frozen=True)
class Turn:
    """One pass."""

    ctx: Ctx
    clouds: Mapping[str, Cloud]
    terms: Terms
    watcher: fleet.LeaseWatcher
    owner: str
    looks: Looks
    vault: Vault | None = None  # what opens that which a lease was given; None: nothing was


async def ask(call: Awaitable[T]) -> T:
    """One call to a cloud, bounded. Whatever goes wrong is a ``CloudError``."""
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await call
    except CloudError:
        raise
    except TimeoutError as late:
        raise OutcomeUnknown(f"It did not answer within {CALL_SECONDS_MAX} s.") from late
    except Exception as fault:  # an adapter's own mistake: nobody knows what was done
        log.exception("adapter_failed")
        raise Unreadable(f"Its adapter failed: {type(fault).__name__}.") from fault


async def _look(cloud: Cloud) -> Listing | CloudError:
    try:
        found = await ask(cloud.listing())
    except CloudError as error:
        return error
    if not found.complete:
        return Unreadable(f"Its list was not complete: {found.why_incomplete}")
    return found


async def note_account(
    tx: Tx, ctx: Ctx, cloud: str, error: CloudError | None, *, rented: bool = False
) -> None:
    """What a call's outcome says of the account. ``rented``: a success that took money."""
    now_ns = ctx.clock.now_ns()
    state = await store.account_state(tx, cloud)
    if isinstance(error, CredentialsRefused):
        event, said = AccountEvent.REFUSE, f"{cloud} refuses our credentials: {error.detail}"
    elif isinstance(error, Broke):
        event, said = AccountEvent.BREAK, f"{cloud} refuses to rent: {error.detail}"
    elif error is None and (rented or state is not AccountState.BROKE):
        event, said = AccountEvent.ANSWER, "it answers"
    else:
        return
    if event is AccountEvent.ANSWER and state in (None, AccountState.OPEN):
        return
    row = await store.account(tx, cloud, now_ns, lock=True)
    await store.move_account(tx, row, event, said, now_ns)
    if event is AccountEvent.ANSWER:
        await store.close_alert(tx, f"account {cloud}", "account", now_ns)
    else:
        await store.raise_alert(tx, cloud, f"account {cloud}", "account", said, now_ns)


async def lease_sight(tx: Tx, row: Intent) -> LeaseSight | None:
    view = await fleet.lease(tx, row.lease_id)
    if view is None:
        return None
    return LeaseSight(
        closed=view.closed,
        stopping=view.state is fleet.LeaseState.STOPPING,
        awaits_gpus=view.awaits_gpus,
        ready=view.seen_state is LeaseSeenState.READY,
        silent=view.silent,
        stop_asked_ns=view.stop_asked_ns,
        drain_seconds=view.drain_seconds,
        reason=view.reason,
        agentless=view.agentless,
        ttl_seconds=row.ttl_seconds,
    )
