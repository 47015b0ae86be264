"""Every limit that is in use at this process, who waits for a lease, and what to ask the brain.

Pure: ``Asker`` carries the questions. Nothing here is on the path of a request that is let
through, but ``gate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from inference.limits.gate import Admitted, Gate, Refused
from inference.limits.meter import ALLOWANCE_PART, MS_NS, Meter, Slots
from kernel.clock import NS
from kernel.errors import GanglionError, LimitReached
from kernel.wire.gateway import AccountRow, KeyRow
from kernel.wire.limits import ASKS_MAX, LimitAsk, LimitsAnswer

WAIT_NS: Final = NS  # for a lease; then it is decided without the brain
WAITING_MAX: Final = 10_000
ADDRESSES_MAX: Final = 10_000  # those beyond share one limit
ADDRESS_ALLOWANCE_PART: Final = 4  # nobody waits for an address's lease
FORGET_NS: Final = 10 * NS

Then = Callable[[Admitted | Refused], None]
Question = tuple[Meter | Slots, LimitAsk]


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for a lease; ``then`` is called once."""

    gate: Gate
    need: int
    then: Then
    until_ns: int


class Limits:
    """``alone``: there is no brain, and this process has the whole of each limit."""

    def __init__(
        self,
        now_ns: Callable[[], int],
        *,
        alone: bool,
        per_address: int = 0,
        failures: int = 0,
        trusted: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._now_ns = now_ns
        self.without = alone  # a brain that deals
        self._never = alone
        self.per_address = per_address
        self.trusted = trusted  # proxies
        self._failures = failures
        self.processes = 1
        self.refused = 0
        self.wake: Callable[[], None] = lambda: None
        self.soon: Callable[[Then, Admitted | Refused], object] = lambda then, found: then(found)
        self._gates: dict[str, Gate] = {}
        self._parts: dict[str, Meter | Slots] = {}
        self._addresses = 0  # parts of addresses among them
        self._waiting: list[Waiter] = []
        self._ticked_ns = now_ns()
        self._forgot_ns = self._ticked_ns
        self._all = False  # a beat came since the last questions

    def gate(self, key: KeyRow, account: AccountRow) -> Gate:
        """What a request with this key passes."""
        gate = self._gates.get(key.key_id)
        if gate is None or gate.key is not key or gate.account is not account:
            gate = self._gates[key.key_id] = self._make(key, account)
        return gate

    def wait(self, gate: Gate, need: int, then: Then) -> None:
        """Refuse a request that ``gate.enter`` did not let in, or have it wait for a lease."""
        now_ns = self._now_ns()
        error = self._refusal(gate, need, now_ns)
        if error is None and len(self._waiting) < WAITING_MAX:
            self._waiting.append(Waiter(gate, need, then, now_ns + WAIT_NS))
            self.wake()
            return
        self.refused += 1
        then(Refused(gate, error or _refused(gate.blocking(need)[0][0], NS)))

    def from_address(self, address: str) -> None:
        """Raises ``LimitReached`` when this address sends too much."""
        self._count(f"address:{address}", self.per_address)

    def failed(self, address: str) -> None:
        """A key was refused. Raises ``LimitReached`` when that happens too often."""
        if self._failures:
            self._count(f"failures:{address}", self._failures)

    def beat(self, now_ns: int) -> None:
        """Called a few times a second."""
        passed_ns, self._ticked_ns = now_ns - self._ticked_ns, now_ns
        for part in self._parts.values():
            part.look(now_ns)
            if self.without:
                part.alone(passed_ns, self.processes)
        if self._waiting:
            self._serve(now_ns)
        if now_ns - self._forgot_ns > FORGET_NS:
            self._forget(now_ns)
        if self._parts and not self._never:
            self._all = True
            self.wake()

    def questions(self, now_ns: int) -> list[Question]:
        """What to ask the brain now; each is answered before its subject is asked for again."""
        needs: dict[Meter | Slots, int] = {}
        for waiter in self._waiting:
            for part in waiter.gate.parts:
                needs[part] = needs.get(part, 0) + waiter.gate.needed(part, waiter.need)
        parts = list(self._parts.values()) if self._all else list(needs)
        self._all = False
        found: list[Question] = []
        for part in parts:
            if part.asking:
                continue
            ask = part.ask(min(needs.get(part, 0), part.limit), now_ns)
            if ask is not None:
                part.asking = True
                found.append((part, ask))
                if len(found) >= ASKS_MAX:
                    self._all = True
                    self.wake()
                    break
        return found

    def answered(self, questions: list[Question], answer: LimitsAnswer | None, now_ns: int) -> None:
        """The brain's grants, or ``None`` when it deals none."""
        if answer is not None:
            self.processes = max(answer.processes, 1)
            if answer.away or len(answer.grants) != len(questions):
                answer = None
        if answer is not None:
            if self.without:
                self.without = False
                for part in self._parts.values():
                    part.rejoin()
        else:
            self.without = True
            for part in self._parts.values():
                part.alone(0, self.processes)
        for number, (part, ask) in enumerate(questions):
            part.asking = False
            if answer is not None:
                part.answered(ask, answer.grants[number], now_ns)
        self._serve(now_ns)

    def farewell(self) -> list[LimitAsk]:
        """What is left of every lease, for the last time."""
        return [ask for part in self._parts.values() if (ask := part.farewell()) is not None]

    def gauges(self) -> dict[str, float]:
        return {
            "limits": len(self._parts),
            "limits_without_brain": self.without and not self._never,
            "rate_limited": self.refused,
        }

    def _serve(self, now_ns: int) -> None:
        """Those who wait, in order."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            gate, need = waiter.gate, waiter.need
            admitted = gate.enter(need)
            if admitted is not None:
                self.soon(waiter.then, admitted)
                continue
            error = self._refusal(gate, need, now_ns)
            if error is None and now_ns < waiter.until_ns:
                self._waiting.append(waiter)
                continue
            self.refused += 1
            refused = Refused(gate, error or _refused(gate.blocking(need)[0][0], NS))
            self.soon(waiter.then, refused)
        if self._waiting:
            self.wake()

    def _refusal(self, gate: Gate, need: int, now_ns: int) -> GanglionError | None:
        """Why a request certainly cannot pass now; ``None`` while the brain may deal it a lease."""
        if self.without:
            part, lacking = gate.blocking(need)[0]
            return _refused(part, part.wait_ns(lacking, self.processes))
        found = gate.refused_for_ns(need, now_ns)
        return None if found is None else _refused(*found)

    def _make(self, key: KeyRow, account: AccountRow) -> Gate:
        pairs = ((f"key:{key.key_id}", key), (f"account:{account.account_id}", account))
        rates = [(f"{name}:requests", row.requests_per_minute) for name, row in pairs]
        tokens = [(f"{name}:tokens", row.tokens_per_minute) for name, row in pairs]
        slots = [(f"{name}:slots", row.requests_at_once) for name, row in pairs]
        return Gate(
            key,
            account,
            tuple(self._meter(name, limit) for name, limit in rates if limit),
            tuple(self._meter(name, limit) for name, limit in tokens if limit),
            tuple(self._slots(name, limit) for name, limit in slots if limit),
        )

    def _meter(self, subject: str, limit: int, part: int = ALLOWANCE_PART) -> Meter:
        known = self._parts.get(subject)
        allowance = max(limit // part, 1)
        if isinstance(known, Meter):
            if known.limit != limit:
                known.change(limit, allowance)
            return known
        made = Meter.fresh(subject, limit, self._now_ns(), allowance=allowance, alone=self._never)
        self._parts[subject] = made
        return made

    def _slots(self, subject: str, limit: int) -> Slots:
        known = self._parts.get(subject)
        if isinstance(known, Slots):
            known.limit = limit
            known.held = min(known.held, limit)
            return known
        made = Slots(subject, limit, used_ns=self._now_ns())
        if self.without:
            made.alone(0, self.processes)
        self._parts[subject] = made
        return made

    def _count(self, subject: str, limit: int) -> None:
        if subject not in self._parts:
            if self._addresses >= ADDRESSES_MAX:
                subject = subject.partition(":")[0] + ":others"
            else:
                self._addresses += 1
        meter = self._meter(subject, limit, ADDRESS_ALLOWANCE_PART)
        if meter.left > 0:
            meter.left -= 1
            return
        self.refused += 1
        now_ns = self._now_ns()
        wait_ns = meter.refused_for_ns(1, now_ns) or meter.wait_ns(1, self.processes)
        raise _refused(meter, wait_ns)

    def _forget(self, now_ns: int) -> None:
        self._forgot_ns = now_ns
        gone = [name for name, part in self._parts.items() if part.idle(now_ns)]
        for name in gone:
            del self._parts[name]
            self._addresses -= name.startswith(("address:", "failures:"))
        if gone:
            kept = self._parts
            self._gates = {
                name: gate
                for name, gate in self._gates.items()
                if all(part.subject in kept for part in gate.parts)
            }


_WHAT = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "slots": "requests at once",
}
_WHOSE = {"key": "this API key", "account": "this account"}


def _refused(part: Meter | Slots, wait_ns: int) -> LimitReached:
    whose, _, rest = part.subject.partition(":")
    what = _WHAT.get(rest.rpartition(":")[2], "requests a minute")
    if whose == "failures":
        what = "refused keys a minute"
    wait_ms = max(-(-wait_ns // MS_NS), 1)
    return LimitReached(
        f"Rate limit reached: {_WHOSE.get(whose, 'this address')} may have"
        f" {part.limit} {what}. Try again in {wait_ms} ms.",
        retry_after=-(-wait_ms // 1000),
        retry_after_ms=wait_ms,
    )
