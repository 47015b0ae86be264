"""Brain <-> gateway: leases of rate limits. Under ``Authorization: Bearer <GATEWAY_TOKEN>``.

POST /internal/gateway/limits   LimitsRequest -> LimitsAnswer

A gateway asks for many subjects at once, in the background. One grant answers one ask, in order.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kernel.wire.gateway import VERSION, Count, Short

ASKS_MAX = 1000
LIMIT_MAX = 10**9


class LimitKind(StrEnum):
    RATE = "rate"  # so many a minute
    SLOTS = "slots"  # so many at once


class LimitAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``want`` more units of a rate, or so many slots in all.

    ``owed``: units that were spent ahead of a lease, or slots that are taken right now: they are
    counted whatever the limit says. ``back``: units of an earlier lease that were not used.
    """

    subject: Short
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
    want: Count = 0
    owed: Count = 0
    back: Count = 0
    kind: LimitKind = LimitKind.RATE


class LimitsRequest(Struct, forbid_unknown_fields=True):
    boot_id: Short
    asks: Annotated[list[LimitAsk], Meta(max_length=ASKS_MAX)]
    v: int = VERSION


class LimitGrant(Struct):
    """``granted`` of what was wanted; ``left`` for everybody; with none left, how long to wait."""

    granted: int
    left: int
    wait_ms: int = 0


class LimitsAnswer(Struct):
    """``processes``: how many gateway processes asked of late, this one among them.

    ``away``: nothing can be dealt now, and each process is to keep to its share of each limit.
    """

    grants: list[LimitGrant]
    processes: int = 1
    away: bool = False
