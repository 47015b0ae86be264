"""What Vast.ai means by its answers: it has several shapes for a refusal, one of them a 200."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from brain.adapters.clouds.fields import amount, text, whole
from brain.adapters.clouds.http import Answer, Judge, code_of
from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    MachineMissing,
    NothingFree,
    OutcomeUnknown,
    Throttled,
)
from kernel.clock import NS, Clock

# A good answer is looked into only while it is short: refusals are.
REFUSAL_BYTES_MAX = 65_536
DAY_SECONDS = 86_400
# A bad key is told by 404, as a missing machine is; only the words tell them apart.
BAD_KEY = ("invalid user key", "session expired", "please log in")

_Make = Callable[..., CloudError]
_CODES: dict[str, tuple[_Make, str]] = {
    "no_such_ask": (NothingFree, "Vast.ai no longer has this offer."),
    "invalid_price": (NothingFree, "Vast.ai does not take this bid."),
    "no_such_instance": (MachineMissing, "Vast.ai does not know this instance."),
    "not_found": (MachineMissing, "Vast.ai does not know it."),
    "insufficient_credit": (Broke, "Vast.ai says that the account has too little credit."),
    "account_limit": (Broke, "Vast.ai says that the account has reached its limit."),
}


class MadeAnyway(OutcomeUnknown):
    """A refusal of a create call that names the contract it made all the same: it is to be
    destroyed, and ``cause`` is what remains to be said."""

    def __init__(self, instance: int, cause: CloudError) -> None:
        super().__init__("Vast.ai refused and made an instance all the same.", code=cause.code)
        self.instance = instance
        self.cause = cause


def judge(clock: Clock) -> Judge:
    """The meaning of an answer; None where its status alone says it."""

    def meaning(answer: Answer) -> CloudError | None:
        if answer.status < 300 and len(answer.body) > REFUSAL_BYTES_MAX:
            return None
        if answer.status >= 500:
            return None
        said = answer.fields_or_empty()
        if answer.status == 429:
            return _quota(answer, said, clock)
        if answer.status < 300 and said.get("success") is not False:
            return None
        cause = _cause(answer, said)
        made = whole(said, "new_contract")
        if made and made > 0:
            return MadeAnyway(made, cause or CloudRefused("Vast.ai refused the request."))
        return cause

    return meaning


def _cause(answer: Answer, said: dict[str, object]) -> CloudError | None:
    code = code_of(said.get("error"))
    words = (text(said, "msg") or text(said, "message") or text(said, "error")).lower()
    if any(bad in words for bad in BAD_KEY):
        return CredentialsRefused(f"Vast.ai refused the key ({answer.status}).", code=code)
    if code in _CODES:
        make, detail = _CODES[code]
        return make(detail, code=code)
    if answer.status == 411:
        return Broke("Vast.ai says that the account has too little credit.", code=code)
    if answer.status < 300 or (answer.status == 400 and code):
        detail = f"Vast.ai refused the request ({code or answer.status})."
        return CloudRefused(detail, code=code)
    return None


def _quota(answer: Answer, said: dict[str, object], clock: Clock) -> CloudError | None:
    """The day's searches are spent until midnight UTC: no use to ask again before."""
    if said.get("error") != "search_quota_exceeded":
        return None
    reset = amount({"at": answer.headers.get("x-ratelimit-reset")}, "at")
    now = clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    wait = (midnight - now).total_seconds()
    if reset is not None:
        wait = float(reset) - clock.now_ns() / NS
    return Throttled(
        "Vast.ai says that the day's searches are spent.",
        retry_after=min(max(wait, 60.0), DAY_SECONDS),
        code="search_quota_exceeded",
    )
