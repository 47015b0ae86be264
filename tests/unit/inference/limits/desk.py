"""The brain's side of limits in memory, by the same rules as the script in ``brain/limits``."""

from __future__ import annotations

from inference.limits import Admitted, Limits, Refused
from inference.limits.gate import Gate
from kernel.clock import NS
from kernel.wire.gateway import AccountRow, KeyRow
from kernel.wire.limits import LimitAsk, LimitGrant, LimitKind, LimitsAnswer

MINUTE_NS = 60 * NS
ACCOUNT = AccountRow("acct_1")


def key(**limits: int) -> KeyRow:
    return KeyRow("key_1", "0" * 64, "acct_1", **limits)  # type: ignore[arg-type]


class Desk:
    """GCRA by subject, and who holds how many slots."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.now_ns = 10 * MINUTE_NS
        self._whole: dict[str, float] = {}
        self._held: dict[str, dict[int, int]] = {}

    def now(self) -> int:
        return self.now_ns

    def answer(self, boot: int, asks: list[LimitAsk]) -> LimitsAnswer:
        slots = LimitKind.SLOTS
        grants = [self._slots(boot, a) if a.kind is slots else self._rate(a) for a in asks]
        return LimitsAnswer(grants, self.processes)

    def _rate(self, ask: LimitAsk) -> LimitGrant:
        each, now = MINUTE_NS / ask.limit, self.now_ns
        whole = max(self._whole.get(ask.subject, 0), now)
        whole = max(whole + (min(ask.owed, ask.limit) - ask.back) * each, now)
        free = max(0, int((now + MINUTE_NS - whole) / each + 0.001))
        granted = min(ask.want, free)
        whole = self._whole[ask.subject] = whole + granted * each
        wait = -int(-(whole + each - MINUTE_NS - now) // 1_000_000) if free - granted < 1 else 0
        return LimitGrant(granted, free - granted, max(wait, 0))

    def _slots(self, boot: int, ask: LimitAsk) -> LimitGrant:
        held = self._held.setdefault(ask.subject, {})
        others = sum(count for one, count in held.items() if one != boot)
        granted = held[boot] = max(ask.owed, min(ask.want, max(0, ask.limit - others)))
        return LimitGrant(granted, max(0, ask.limit - others - granted))


class Process:
    """A gateway process: its limits, and what it let through."""

    def __init__(self, desk: Desk, boot: int, row: KeyRow, account: AccountRow = ACCOUNT) -> None:
        self.desk, self.boot, self.row, self.account = desk, boot, row, account
        self.limits = Limits(desk.now, alone=False)
        self.running: list[Admitted] = []
        self.passed = self.refused = 0
        self.last: Refused | None = None

    @property
    def gate(self) -> Gate:
        return self.limits.gate(self.row, self.account)

    def send(self, need: int = 0) -> None:
        admitted = self.gate.enter(need)
        if admitted is None:
            self.limits.wait(self.gate, need, self._told)
        else:
            self._told(admitted)

    def _told(self, found: Admitted | Refused) -> None:
        if isinstance(found, Refused):
            self.refused += 1
            self.last = found
        else:
            self.passed += 1
            self.running.append(found)

    def end(self, tokens: int = 0) -> None:
        self.running.pop().leave(tokens)

    def do(self, what: str, *, ask: bool = True) -> None:
        """One thing that a process does, by its name; ``ask`` where that cannot be done."""
        match what:
            case "send":
                self.send()
            case "beat":
                self.beat()
            case "end" if self.running:
                self.end()
            case _ if ask:
                self.ask()

    def ask(self, *, away: bool = False) -> None:
        """One question to the brain, and its answer."""
        questions = self.limits.questions(self.desk.now_ns)
        asks = [ask for _, ask in questions]
        answer = None if away else self.desk.answer(self.boot, asks)
        self.limits.answered(questions, answer, self.desk.now_ns)

    def beat(self, *, away: bool = False) -> None:
        self.limits.beat(self.desk.now_ns)
        self.ask(away=away)
