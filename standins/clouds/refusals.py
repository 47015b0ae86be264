"""Why an emulated cloud does not do what was asked; each cloud's API puts it in its own words."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    NO_CAPACITY = "no_capacity"  # the offer is gone or full
    THROTTLED = "throttled"  # 429
    BROKEN = "broken"  # 5xx
    UNAUTHORIZED = "unauthorized"  # the key is wrong or revoked
    FORBIDDEN = "forbidden"  # the key may not do this
    NO_BALANCE = "no_balance"  # the account is out of money
    ACCOUNT_LIMIT = "account_limit"  # more machines than the account may have
    BAD_REQUEST = "bad_request"  # breaks a rule of the API
    MISSING = "missing"  # no such machine, key, volume ...
    CONFLICT = "conflict"  # not in the machine's present state
    UNROUTED = "unrouted"  # no such path or method


class Refused(Exception):
    """A request that is not done. ``status`` 0: what the cloud gives for this trouble."""

    def __init__(
        self,
        trouble: Trouble,
        detail: str = "",
        *,
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.detail = detail
        self.status = status
        self.retry_after = retry_after
