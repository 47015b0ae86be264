"""What Lambda means by its answers: a code in every refusal, except where a proxy answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from brain.adapters.clouds.fields import text
from brain.adapters.clouds.http import Answer, code_of
from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    MachineMissing,
    NothingFree,
    OutcomeUnknown,
)

INVALID = "global/invalid-parameters"
ABSENT = "global/object-does-not-exist"

# Names are unique in an account, and the code for a double one is not always given: an earlier
# order with this name may have been done.
_TAKEN = re.compile(r"\bname\b.*\b(?:exists|in use|taken|unique|duplicate)\b", re.IGNORECASE)
_Make = Callable[..., CloudError]
_CODES: dict[str, tuple[_Make, str]] = {
    "instance-operations/launch/insufficient-capacity": (
        NothingFree,
        "Lambda has no such instance free in this region.",
    ),
    "instance-operations/launch/file-system-in-wrong-region": (
        CloudRefused,
        "The filesystem is in another region.",
    ),
    INVALID: (CloudRefused, "Lambda does not take the request as it stands."),
    "global/duplicate": (OutcomeUnknown, "Lambda has something of this name already."),
    "global/quota-exceeded": (Broke, "Lambda says that the account has reached its quota."),
    "global/account-inactive": (Broke, "Lambda says that the account is not active."),
    "global/invalid-address": (Broke, "Lambda asks for a billing address."),
    "global/invalid-api-key": (CredentialsRefused, "Lambda refused the key."),
    ABSENT: (MachineMissing, "Lambda does not know it."),
}


def judge(answer: Answer) -> CloudError | None:
    """The meaning of a refusal by its code; None where its status alone says it."""
    if not 400 <= answer.status < 500 or answer.status == 429:
        return None
    error = answer.fields_or_empty().get("error")
    code = code_of(error.get("code")) if isinstance(error, dict) else ""
    if code not in _CODES:
        return None
    if code == INVALID and isinstance(error, dict) and _TAKEN.search(text(error, "message")):
        return OutcomeUnknown("Lambda has something of this name already.", code=code)
    make, detail = _CODES[code]
    return make(detail, code=code)
