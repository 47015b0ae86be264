"""How a call to a cloud may fail, named by what the caller can do next."""

from __future__ import annotations


class CloudError(Exception):
    """Base. ``detail`` is a sentence for people: no key, no answer body, at most 300 characters.

    ``code`` is the cloud's own, when it gave one.
    """

    def __init__(self, detail: str, *, code: str = "") -> None:
        super().__init__(detail)
        self.detail = detail[:300]
        self.code = code[:100]


class NothingFree(CloudError):
    """This offer cannot be had now: nothing was made; try another candidate."""


class Throttled(CloudError):
    """Too many calls: nothing was done; wait ``retry_after`` seconds."""

    def __init__(self, detail: str, *, retry_after: float, code: str = "") -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class CloudRefused(CloudError):
    """The cloud will never take this request as it stands: nothing was made."""


class CredentialsRefused(CloudError):
    """The key is wrong, revoked, or lacks a scope: stop using the account, tell an admin."""


class Broke(CloudError):
    """The account has no balance, or reached a limit of its own: stop renting, tell an admin."""


class MachineMissing(CloudError):
    """The cloud's own no-such-machine answer. Once is no proof: a key may be at fault."""


class OutcomeUnknown(CloudError):
    """Time-out, cut or 5xx: it may have been done. Look by tag before doing anything again."""


class Unreadable(CloudError):
    """What came back is not the cloud's API (HTML, another shape, too long): as unknown."""
