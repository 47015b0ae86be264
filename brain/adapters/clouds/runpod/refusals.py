"""What RunPod means by its answers: neither interface has codes, so its words are looked at.

The words choose a class and are then dropped: they may quote what we sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from brain.adapters.clouds.fields import text, whole
from brain.adapters.clouds.http import Answer, code_of
from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    MachineMissing,
    NothingFree,
    OutcomeUnknown,
    Throttled,
    Unreadable,
)

TITLE = "RunPod"
THROTTLED_SECONDS = 10.0
_NO_BALANCE = re.compile(
    r"balance|insufficient (?:funds|credit)|spend(?:ing)? limit|quota|"
    r"(?:account|machine) limit|may have \d+ machines",
    re.IGNORECASE,
)
_NO_CAPACITY = re.compile(
    r"no longer any instances|no instances|not enough free|capacity|out of stock|"
    r"could not be placed|(?:not|un)available|requested? specifications",
    re.IGNORECASE,
)
_RULE = re.compile(
    r"\bmust\b|invalid|exactly one|mutually exclusive|required|cannot be read|is not a port",
    re.IGNORECASE,
)
_MISSING = re.compile(r"not found|does ?n[o']t exist|nonexistent|no such", re.IGNORECASE)
_ROUTE = re.compile(r"\b(?:routes?|path|endpoint|url)\b", re.IGNORECASE)
_TOO_MANY = re.compile(r"too many requests|rate limit", re.IGNORECASE)
_KEY = re.compile(r"unauthori[sz]ed|unauthenticated|api key|forbidden|access denied", re.IGNORECASE)
# Codes of GraphQL servers for a request that was understood and refused.
_REFUSALS = {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "RUNPOD"}


_ID = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


def plain_id(thing_id: str) -> str:
    """An id that can be nothing else in a path or a query; others name nothing at RunPod."""
    if not _ID.match(thing_id):
        raise MachineMissing("This is no id of RunPod's.")
    return thing_id


def rest_judge(answer: Answer) -> CloudError | None:
    """Calls other than create; None where the status says it."""
    if answer.is_page or answer.status not in {400, 403, 404, 409}:
        return None
    words = _problem(answer)
    if answer.status == 404:
        known = whole(answer.fields_or_empty(), "status") == 404 and not _ROUTE.search(words)
        return MachineMissing("RunPod does not know it.") if known else None
    if answer.status == 409:
        return CloudRefused("RunPod cannot do this in the pod's present state.")
    if _NO_BALANCE.search(words):
        return Broke("RunPod says that the account has no balance, or reached its limit.")
    if answer.status == 400 and _NO_CAPACITY.search(words):
        return NothingFree("RunPod has no free machine of this kind.")
    return None


def list_judge(answer: Answer) -> CloudError | None:
    """A list is never missing: a 404 is another address than RunPod's."""
    return None if answer.status == 404 else rest_judge(answer)


def create_judge(answer: Answer) -> CloudError | None:
    """A create: its 400 is "no capacity" as often as it is a broken rule, and its 403 may mean
    this pool alone; both are for the next candidate."""
    if answer.is_page or answer.status not in {400, 403, 404}:
        return None
    words = _problem(answer)
    if _NO_BALANCE.search(words):
        return Broke("RunPod says that the account has no balance, or reached its limit.")
    if answer.status == 404:
        return CloudRefused("RunPod does not know what the pod is to be made of.")
    if answer.status == 403:
        pool = re.search(r"pool|cloud|gpu", words, re.IGNORECASE)
        return NothingFree("RunPod does not let this account use this pool.") if pool else None
    if _RULE.search(words) and not _NO_CAPACITY.search(words):
        return CloudRefused("RunPod says that the request breaks a rule of its own.")
    return NothingFree("RunPod has no free machine of this kind.")


def graphql_judge(answer: Answer) -> CloudError | None:
    """GraphQL answers 200 to refusals as well; its errors stand in the body."""
    if not (answer.status == 400 or answer.status < 300) or answer.is_page:
        return None
    try:
        said = answer.fields()
    except Unreadable as wrong:
        return wrong
    errors = said.get("errors")
    if not errors:
        return None
    first = errors[0] if isinstance(errors, list) else errors
    first = first if isinstance(first, Mapping) else {}
    extensions = first.get("extensions")
    code = code_of(extensions.get("code")) if isinstance(extensions, Mapping) else ""
    return _graphql_cause(text(first, "message"), code)


def _graphql_cause(words: str, code: str) -> CloudError:
    if code in {"UNAUTHENTICATED", "FORBIDDEN"} or _KEY.search(words):
        return CredentialsRefused("RunPod refused the key.", code=code)
    if _TOO_MANY.search(words):
        detail = "RunPod asks for fewer calls."
        return Throttled(detail, retry_after=THROTTLED_SECONDS, code=code)
    if _NO_BALANCE.search(words):
        detail = "RunPod says that the account has no balance, or reached its limit."
        return Broke(detail, code=code)
    if _NO_CAPACITY.search(words):
        return NothingFree("RunPod has no free machine of this kind.", code=code)
    if _MISSING.search(words):
        return MachineMissing("RunPod does not know it.", code=code)
    if code in _REFUSALS:
        return CloudRefused("RunPod refused the request.", code=code)
    return OutcomeUnknown("RunPod says that something went wrong inside.", code=code)


def _problem(answer: Answer) -> str:
    said = answer.fields_or_empty()
    return f"{text(said, 'title')} {text(said, 'detail')}"
