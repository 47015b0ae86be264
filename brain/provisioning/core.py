"""Pure decisions: tags, whose machine it is, when one is proved gone, what comes next."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from brain.clouds import Listing, Machine, MachineState
from brain.provisioning.states import STANDING, IntentState
from kernel.clock import NS
from kernel.ids import IntentId

CALL_SECONDS_MAX = 30  # no call to a cloud is waited for longer
ORDERS_MAX = 4  # orders that made nothing, until another offer is better
PLAN_SECONDS_MAX = 180  # an order that is put off for longer goes elsewhere
LOOK_SECONDS = 5  # while a machine boots
WATCH_SECONDS = 20  # while it serves
HEED_SECONDS = 2  # how often the lease is looked at until it serves
CALM_SECONDS = 5  # and then
PROOF_SECONDS = 30  # between two answers that prove an absence
YIELD_SECONDS = 60  # beyond its drain, until a machine that is to stop is taken from its agent
BACK_OFF_SECONDS_MAX = 600
ALERT_SECONDS = 300  # an end that takes longer is told to people
HOUR_NS = 3600 * NS
_TAG = re.compile(r"gng-([a-z0-9]{12})-([0-9a-f]{32})-([0-9]{1,6})\Z")


def tag_prefix(installation_id: str) -> str:
    """What every machine of this installation is called by, and no other's."""
    return f"gng-{hashlib.sha256(installation_id.encode()).hexdigest()[:12]}-"


def tag_of(installation_id: str, intent_id: IntentId, attempt: int) -> str:
    """The tag of one order: at most 64 of [a-z0-9-]."""
    return f"{tag_prefix(installation_id)}{intent_id.uuid.hex}-{attempt}"


@dataclass(frozen=True)
class Tag:
    intent_id: IntentId
    attempt: int


def join_token(secret: bytes, intent_id: IntentId, attempt: int) -> str:
    """The token of one order's machine. Derived, so that it is kept nowhere and is the same
    after a crash."""
    digest = hmac.new(secret, f"join {intent_id} {attempt}".encode(), hashlib.sha256).digest()
    return "gj_" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def read_tag(installation_id: str, tag: str) -> Tag | None:
    """Whose order a machine is of; None: it is none of ours, whatever it looks like."""
    found = _TAG.match(tag)
    if found is None or not tag.startswith(tag_prefix(installation_id)):
        return None
    return Tag(IntentId(f"{IntentId.prefix}_{found[2]}"), int(found[3]))


def born_ns(intent_id: IntentId) -> int:
    """When an intent was wished for: its id says so, to the millisecond."""
    return (intent_id.uuid.int >> 80) * 1_000_000


def at_of(ns: int) -> datetime:
    """A business time as a record time."""
    return datetime.fromtimestamp(ns // NS, UTC).replace(microsecond=ns % NS // 1000)


def accrued_nano(cost_nano_hour: int, since_ns: int | None, until_ns: int) -> int:
    """What a machine cost from one moment to another, rounded up; 0 when there was none."""
    if since_ns is None or until_ns <= since_ns:
        return 0
    return -(-cost_nano_hour * (until_ns - since_ns) // HOUR_NS)


def back_off_seconds(failures: int) -> float:
    """2, 4, 8 ... seconds after the first, second, third failure; never more than 10 minutes."""
    return float(min(BACK_OFF_SECONDS_MAX, 2 ** min(max(failures, 1), 10)))


def oldest_first(machines: Iterable[Machine]) -> list[Machine]:
    """By birth; those whose birth the cloud does not tell come last."""
    return sorted(machines, key=lambda m: (m.created_ns is None, m.created_ns or 0, m.machine_id))


@dataclass(frozen=True)
class LeaseSight:
    """What a decision needs of the lease that a machine was rented for."""

    closed: bool = False
    stopping: bool = False
    awaits_gpus: bool = True
    ready: bool = False
    silent: bool = False
    stop_asked_ns: int | None = None
    drain_seconds: int = 300
    reason: str = ""
    agentless: bool = False  # the cloud's word stands in an agent's place
    ttl_seconds: int = 600


@dataclass(frozen=True)
class Facts:
    """What a decision needs of an intent."""

    state: IntentState
    wanted: bool
    ordered_ns: int | None
    made_ns: int | None
    boot_by_ns: int | None
    seen_ns: int | None  # when the cloud last knew the machine
    missing_ns: int | None  # since when it does not
    missing_count: int
    unwell_ns: int | None = None  # since when the cloud lists it and does not say that it runs


def unwanted(lease: LeaseSight | None, now_ns: int) -> str:
    """Why no machine is wanted for this lease any more; empty while one is.

    A machine whose agent works on its lease is left to it for a while: its stop is evidence. One
    without an agent is ended at once.
    """
    if lease is None or lease.closed:
        said = lease.reason if lease is not None else ""
        return f"its lease ended: {said}" if said else "its lease ended"
    if not lease.stopping:
        return ""
    if lease.awaits_gpus:
        return f"not wanted any more: {lease.reason}"
    if lease.silent:
        return "its lease is to stop and its agent is not heard"
    limit_ns = (lease.drain_seconds + YIELD_SECONDS) * NS
    if lease.stop_asked_ns is not None and now_ns >= lease.stop_asked_ns + limit_ns:
        return "its agent did not end its work in time"
    return ""


class Sight(StrEnum):
    """What a complete listing says of one machine."""

    LISTED = "listed"
    GONE = "gone"  # listed as gone, or proved to be
    MISSING = "missing"  # not listed, which proves nothing yet


def sight(facts: Facts, machine: Machine | None, lag_seconds: int, now_ns: int) -> Sight:
    """Judge a listing that was complete: ``machine`` is what it has under the intent's id.

    A new machine may be missing for a while. One that is to go is gone when a listing lacks it;
    one that should run is believed gone only when that is so for a while.
    """
    if machine is not None:
        return Sight.GONE if machine.state is MachineState.TERMINATED else Sight.LISTED
    if unconfirmed(facts, lag_seconds, now_ns):
        return Sight.MISSING
    if facts.state is IntentState.TERMINATING:
        return Sight.GONE
    since_ns = facts.missing_ns
    proved = since_ns is not None and now_ns >= since_ns + PROOF_SECONDS * NS
    return Sight.GONE if proved else Sight.MISSING


def unconfirmed(facts: Facts, lag_seconds: int, now_ns: int) -> bool:
    """Was it made so lately that its absence from a list says nothing?"""
    if facts.seen_ns is not None or facts.made_ns is None:
        return False
    return now_ns < facts.made_ns + lag_seconds * NS


def gone_by_refusals(facts: Facts, lag_seconds: int, now_ns: int) -> bool:
    """The cloud's own no-such-machine came twice, far enough apart, of one that is not new."""
    if unconfirmed(facts, lag_seconds, now_ns) or facts.missing_ns is None:
        return False
    return facts.missing_count >= 2 and now_ns >= facts.missing_ns + PROOF_SECONDS * NS


def settled_ns(facts: Facts, lag_seconds: int) -> int:
    """From when on an order that nobody saw the outcome of, and that is not listed, made
    nothing: the call is over by then and a machine would be listed."""
    assert facts.ordered_ns is not None, "an order has its time"
    return facts.ordered_ns + (CALL_SECONDS_MAX + lag_seconds) * NS


class Fault(StrEnum):
    """Why a machine is given up, as far as it says something of its offer."""

    NONE = "none"
    BOOT_FAILED = "boot_failed"
    BOOT_SLOW = "boot_slow"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Verdict:
    """What to do with a machine that stands; all empty: leave it as it is.

    ``failed``: the work without an agent failed there, which may be its image's fault as well as
    the machine's: its owner is told, and nobody else's place rests for it.
    """

    enrolled: bool = False
    serving: bool = False
    end: str = ""
    vanished: bool = False
    fault: Fault = Fault.NONE
    failed: bool = False


BROKEN = frozenset({MachineState.FAILED, MachineState.STOPPED, MachineState.INTERRUPTED})


def judge(
    facts: Facts, lease: LeaseSight | None, machine: Machine | None, seen: Sight | None, now_ns: int
) -> Verdict:
    """What follows from the lease and, where there was a listing (``seen``), from the cloud.

    The cloud's word that the machine failed counts at once: the next offer is tried within one
    look, without a deadline.
    """
    assert facts.state in STANDING - {IntentState.TERMINATING}, "the machine is to be kept"
    why = unwanted(lease, now_ns)
    if not facts.wanted:
        why = why or "it was given up"
    if seen is Sight.GONE:
        early = facts.state is IntentState.BOOTING
        fault = Fault.BOOT_FAILED if early else Fault.INTERRUPTED
        if why:
            fault = Fault.NONE
        return Verdict(vanished=True, fault=fault, end=why or "the cloud lists it no more")
    if why:
        return Verdict(end=why, fault=_fault_of(facts, lease))
    if machine is not None and _is_broken(facts, machine):
        said = f": {machine.said}" if machine.said else ""
        end = f"the cloud says that it is {machine.state.value}{said}"
        if lease is not None and lease.agentless and machine.state is not MachineState.INTERRUPTED:
            return Verdict(end=end, failed=True)
        return Verdict(end=end, fault=_broken(facts, machine))
    assert lease is not None, "a lease that is not there is unwanted"
    if facts.state is IntentState.BOOTING:
        return _booting(facts, lease, machine, now_ns)
    if lease.agentless and _is_unwell(facts, lease, now_ns):
        end = f"the cloud has not said for {lease.ttl_seconds} s that it runs"
        return Verdict(end=end, fault=Fault.INTERRUPTED)
    return Verdict(serving=facts.state is IntentState.ENROLLED and lease.ready)


def runs(machine: Machine | None) -> bool:
    """The cloud says of it, by its id, that it runs."""
    return machine is not None and machine.state is MachineState.RUNNING


def _is_unwell(facts: Facts, lease: LeaseSight, now_ns: int) -> bool:
    """Where no agent is silent the cloud is: it lists the machine, and for as long as a lease
    lives without a renewal it did not say that it runs."""
    since_ns = facts.unwell_ns
    return since_ns is not None and now_ns >= since_ns + lease.ttl_seconds * NS


def _is_broken(facts: Facts, machine: Machine) -> bool:
    """A machine that is unwell before its agent ever spoke is not waited for; later, what the
    agent tells is nearer to the truth than the cloud's word."""
    unwell = machine.state is MachineState.UNHEALTHY and facts.state is IntentState.BOOTING
    return unwell or machine.state in BROKEN


def _broken(facts: Facts, machine: Machine) -> Fault:
    """Taken away at work, or never came up. A stop that nobody asked for is an interruption:
    several clouds have no other word for it."""
    booting = facts.state is IntentState.BOOTING and machine.state is not MachineState.INTERRUPTED
    return Fault.BOOT_FAILED if booting else Fault.INTERRUPTED


def _booting(facts: Facts, lease: LeaseSight, machine: Machine | None, now_ns: int) -> Verdict:
    if runs(machine) if lease.agentless else not lease.awaits_gpus:
        return Verdict(enrolled=True)
    if facts.boot_by_ns is not None and now_ns >= facts.boot_by_ns:
        if lease.agentless:
            return Verdict(end="the cloud did not say in time that it runs", failed=True)
        return Verdict(end="its agent did not speak in time", fault=Fault.BOOT_SLOW)
    return Verdict()


def _fault_of(facts: Facts, lease: LeaseSight | None) -> Fault:
    """A lease that ended unasked before its GPUs were known: the machine is not as told."""
    unasked = lease is not None and lease.closed and lease.stop_asked_ns is None
    early = facts.state is IntentState.BOOTING and lease is not None and lease.awaits_gpus
    return Fault.BOOT_FAILED if unasked and early and facts.wanted else Fault.NONE


def found(listing: Listing, machine_id: str) -> Machine | None:
    return next((m for m in listing.machines if m.machine_id == machine_id), None)


@dataclass(frozen=True)
class Stray:
    """A machine with our tag that no standing intent owns, and why."""

    machine: Machine
    why: str
    ended_ns: int | None = None  # when its intent ended
    restored: bool = False  # it speaks of a past that this database does not know


@dataclass(frozen=True)
class Owner:
    """The intent that a tag names, as the database has it."""

    state: IntentState
    attempt: int
    machine_id: str | None
    ended_ns: int | None = None


def stray(tag: Tag, machine: Machine, owner: Owner | None, newest_ns: int) -> Stray | None:
    """Is this machine nobody's? None: its intent owns it, or is about to find it.

    ``newest_ns``: when the newest intent of this database was wished for.
    """
    if owner is None:
        lost = born_ns(tag.intent_id) > newest_ns
        said = "its intent is not in the database"
        return Stray(machine, said + (" and newer than any" if lost else ""), restored=lost)
    if tag.attempt > owner.attempt:
        return Stray(machine, "its order is newer than the database", restored=True)
    if owner.state in STANDING and owner.machine_id == machine.machine_id:
        return None
    if owner.state is IntentState.CREATING and tag.attempt == owner.attempt:
        return None
    if owner.state in STANDING:
        return Stray(machine, f"its intent has the machine {owner.machine_id}")
    return Stray(machine, f"its intent is {owner.state.value}", owner.ended_ns)


UNKNOWN_MAX = 3
UNKNOWN_SHARE_PERCENT = 20


def too_many(unknown: int, ours: int) -> bool:
    """So many at once are more likely our mistake than theirs."""
    return unknown > UNKNOWN_MAX and unknown * 100 > ours * UNKNOWN_SHARE_PERCENT


def why_frozen(strays: Sequence[Stray], allowed: Iterable[str], ours: int) -> str:
    """Why nothing may be destroyed before a person looked; empty when all is as usual.

    ``allowed``: machines that a person already looked at.
    """
    seen = set(allowed)
    fresh = [one for one in strays if one.machine.machine_id not in seen]
    past = [one for one in fresh if one.restored]
    if past:
        return (
            f"{len(past)} machines are of orders that this database does not know:"
            " it was restored from a backup, or another brain has this installation's id"
        )
    if too_many(len(fresh), ours):
        return f"{len(fresh)} of {ours} machines with our tag belong to nobody, all at once"
    return ""
