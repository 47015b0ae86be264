"""All limits that a request with one key passes: the key's and its account's. Pure."""

from __future__ import annotations

from functools import lru_cache

from inference.body import Ask
from inference.limits.meter import Meter, Slots
from kernel.errors import GanglionError
from kernel.wire.gateway import AccountRow, KeyRow

BYTES_PER_TOKEN = 4  # of a prompt, when its tokens are not counted yet
TEXTS_MAX = 1024
COMPLETION_TOKENS = 256  # of an answer whose request sets no most


class Gate:
    """Made from a key's and an account's row; another is made when one of these changes."""

    __slots__ = (
        "_lone",
        "_pass",
        "_texts",
        "_tokens_most",
        "_words",
        "account",
        "each",
        "key",
        "open",
        "parts",
        "requests",
        "slots",
        "tokens",
    )

    def __init__(
        self,
        key: KeyRow,
        account: AccountRow,
        requests: tuple[Meter, ...],
        tokens: tuple[Meter, ...],
        slots: tuple[Slots, ...],
    ) -> None:
        self.key = key
        self.account = account
        self.requests = requests
        self.tokens = tokens
        self.slots = slots
        self.parts: tuple[Meter | Slots, ...] = (*requests, *tokens, *slots)
        self.open = not self.parts
        self._pass = Admitted(self, 0)
        self._lone = requests[0] if len(self.parts) == len(requests) == 1 else None
        self._texts: dict[int, str] = {}
        self._tokens_most = min((meter.limit for meter in tokens), default=0)
        # One of each kind, as most keys have them: read in few steps.
        one_each = len(requests) == len(tokens) == len(slots) == 1
        self.each = (requests[0], tokens[0], slots[0]) if one_each else None
        self._words = tuple(
            (meters[0], *_words(what, meters[0].limit))
            for what, meters in (("requests", requests), ("tokens", tokens))
            if len(meters) == 1
        )

    def need(self, ask: Ask, body_bytes: int, weight: int) -> int:
        """How many tokens to set aside until the answer tells; at most what could ever be had."""
        most = ask.max_tokens  # mostly the only one; ``tokens_max`` in few steps
        if not (ask.max_completion_tokens is ask.max_output_tokens is None):
            most = ask.tokens_max
        answer = COMPLETION_TOKENS if most is None else most
        found = body_bytes // BYTES_PER_TOKEN + answer * weight
        return found if found < self._tokens_most else self._tokens_most

    def quick(self) -> str | None:
        """Where one limit of requests is all there is: take one. The lines of ``terms``."""
        meter = self._lone
        if meter is None or meter.left <= 0:
            return None
        meter.left = left = meter.left - 1
        text = self._texts.get(left + meter.told)
        if text is None:
            if len(self._texts) >= TEXTS_MAX:
                self._texts.clear()
            text = self._texts[left + meter.told] = _lines("requests", self.requests)
        return text

    def enter(self, need: int) -> Admitted | None:
        """Take one request and so many tokens of every limit, or nothing."""
        if self.each is None:
            return self._enter_all(need)
        request, token, slot = self.each
        if request.left <= 0 or token.left < need or slot.used >= slot.held:
            return None
        request.left -= 1
        token.left -= need
        used = slot.used = slot.used + 1
        slot.peak = used if used > slot.peak else slot.peak
        return Admitted(self, need)

    def _enter_all(self, need: int) -> Admitted | None:
        for meter in self.requests:
            if meter.left <= 0:
                return None
        if not (self.tokens or self.slots):
            for meter in self.requests:
                meter.left -= 1
            return self._pass
        for meter in self.tokens:
            if meter.left < need:
                return None
        for slot in self.slots:
            if slot.used >= slot.held:
                return None
        for meter in self.requests:
            meter.left -= 1
        for meter in self.tokens:
            meter.left -= need
        for slot in self.slots:
            used = slot.used = slot.used + 1
            slot.peak = used if used > slot.peak else slot.peak
        return Admitted(self, need)

    def refused_for_ns(self, need: int, now_ns: int) -> tuple[Meter | Slots, int] | None:
        """The limit that certainly refuses, and for how long; ``None`` while none does."""
        longest: tuple[Meter | Slots, int] | None = None
        for part in self.parts:
            wait_ns = part.refused_for_ns(self.needed(part, need), now_ns)
            if wait_ns is not None and (longest is None or wait_ns > longest[1]):
                longest = part, wait_ns
        return longest

    def blocking(self, need: int) -> list[tuple[Meter | Slots, int]]:
        """What lacks something, and how much a request needs of it."""
        found: list[tuple[Meter | Slots, int]] = [
            (meter, self.needed(meter, need))
            for meter in (*self.requests, *self.tokens)
            if meter.left < self.needed(meter, need)
        ]
        return found + [(slot, 1) for slot in self.slots if slot.used >= slot.held]

    def terms(self) -> str:
        """Header lines that tell how it stands, as OpenAI documents them; the tightest limit."""
        if len(self._words) == 2:
            (request, begins, resets), (token, begins_too, resets_too) = self._words
            return _line(request, begins, resets) + _line(token, begins_too, resets_too)
        head = _lines("requests", self.requests) if self.requests else ""
        return head + _lines("tokens", self.tokens) if self.tokens else head

    def needed(self, part: Meter | Slots, need: int) -> int:
        """Of this limit, by a request of so many tokens."""
        return need if part in self.tokens else 1


class Admitted:
    """One request's part of every limit, until it ends."""

    __slots__ = ("_need", "gate")

    def __init__(self, gate: Gate, need: int) -> None:
        self.gate = gate
        self._need = need

    def leave(self, tokens: int) -> None:
        """It is over: ``tokens`` is what it really took."""
        gate = self.gate
        if gate.each is not None:
            _, token, slot = gate.each
            token.left += self._need - tokens
            slot.used -= 1
            return
        for meter in gate.tokens:
            meter.left += self._need - tokens
        for slot in gate.slots:
            slot.used -= 1


class Refused:
    """A request that is over a limit. ``leave`` is here as with one that is not."""

    __slots__ = ("error", "gate")

    def __init__(self, gate: Gate, error: GanglionError) -> None:
        self.gate = gate
        self.error = error

    def leave(self, tokens: int) -> None:
        """It has nothing to give back."""


def _lines(what: str, meters: tuple[Meter, ...]) -> str:
    meter = meters[0]
    if len(meters) > 1 and meters[1].remaining < meter.remaining:
        meter = meters[1]
    return _line(meter, *_words(what, meter.limit))


def _line(meter: Meter, begins: str, resets: str) -> str:
    limit, left = meter.limit, meter.told + meter.left
    if not 0 <= left <= limit:
        left = meter.remaining
    return f"{begins}{left}{resets}{duration((limit - left) * 60_000 // limit)}"


@lru_cache(4096)
def _words(what: str, limit: int) -> tuple[str, str]:
    """What stands before the two figures that change with each request."""
    begins = f"\r\nx-ratelimit-limit-{what}: {limit}\r\nx-ratelimit-remaining-{what}: "
    return begins, f"\r\nx-ratelimit-reset-{what}: "


@lru_cache(4096)
def duration(ms: int) -> str:
    """As OpenAI writes it: 12ms, 8.64s, 6m0s."""
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
