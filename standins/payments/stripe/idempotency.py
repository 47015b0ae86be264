"""Idempotency keys: the first answer is kept a day and given again; others are refused."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kernel.clock import NS
from standins.payments.stripe.refusals import CODES_NEVER_KEPT, Refused, invalid

KEPT_SECONDS = 86_400
KEY_MAX = 255


@dataclass(slots=True)
class Kept:
    """The first call with a key. ``answer`` None: it runs still."""

    asked: str
    since_ns: int
    request_id: str
    answer: tuple[int, bytes] | None = None


class Keys:
    """The keys of all accounts."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Kept] = {}

    def begin(
        self, account: str, key: str, asked: str, *, now_ns: int, request_id: str
    ) -> Kept | None:
        """The kept answer to give again; None: go on, and ``end`` it. May raise ``Refused``."""
        if len(key) > KEY_MAX:
            raise invalid(f"Idempotency keys have at most {KEY_MAX} characters.")
        kept = self._kept.get((account, key))
        if kept is not None and now_ns - kept.since_ns >= KEPT_SECONDS * NS:
            kept = None
        if kept is None:
            self._kept[account, key] = Kept(asked, now_ns, request_id)
            return None
        if kept.asked != asked:
            words = (
                "Keys for idempotent requests can only be used with the same parameters they were "
                f"first used with. Try using a key other than '{key}' if you meant to execute a "
                "different request."
            )
            raise Refused(400, words, kind="idempotency_error")
        if kept.answer is None:
            words = (
                "There is currently another in-progress request using this Idempotent Key (that "
                "probably means you submitted twice, and the other request is still going "
                f"through): {key}. Please try again later."
            )
            raise Refused(409, words, kind="idempotency_error", code="idempotency_key_in_use")
        return kept

    def end(self, account: str, key: str, status: int, body: bytes) -> None:
        """Keep the answer; what was refused before anything ran is forgotten."""
        if status in CODES_NEVER_KEPT:
            self._kept.pop((account, key), None)
            return
        self._kept[account, key].answer = (status, body)


def fingerprint(method: str, path: str, form: bytes) -> str:
    return hashlib.sha256(f"{method} {path} ".encode() + form).hexdigest()
