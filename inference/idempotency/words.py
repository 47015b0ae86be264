"""What a client is told of its key. Those that may be sent again say so (``x-should-retry``).

Statuses as in draft-ietf-httpapi-idempotency-key-header: 400 for a key that is none, 422 for a key
with another input, 409 while the first request runs.
"""

from __future__ import annotations

from inference.errors import WorkerRefused
from kernel.errors import BadInput, Conflict, GanglionError, LimitReached, Malformed, Unavailable
from kernel.wire.replays import KEY_BYTES_MAX, Kept

PARAM = "Idempotency-Key"
REPLAYED = "\r\nx-idempotent-replayed: true"


class StillRunning(Conflict):
    """The first request with this key runs; send it again in a moment to get its answer."""

    code, title = "idempotency_key_in_use", "The first request with this key still runs"
    retryable = True


class OutcomeUnknown(Conflict):
    """It may be known once the gateway's spool was read: ask again later, or take a new key."""

    code, title = "idempotency_outcome_unknown", "Whether the first request was run is not known"
    retryable = True


def bad_key() -> GanglionError:
    return Malformed(
        f"Send one Idempotency-Key of 1 to {KEY_BYTES_MAX} visible ASCII characters.",
        code="idempotency_key_invalid",
        param=PARAM,
    )


def other_input() -> GanglionError:
    return BadInput(
        "This Idempotency-Key was used with another request; take a new key for a new request.",
        code="idempotency_key_reused",
        param=PARAM,
    )


def still_running(first: str) -> GanglionError:
    return StillRunning(
        f"The first request with this Idempotency-Key, {first}, still runs."
        " Send it again in a moment to get its answer.",
        param=PARAM,
        retry_after=1,
    )


def not_kept(first: str) -> GanglionError:
    return Conflict(
        f"The request {first} had this Idempotency-Key and is done; its answer was a stream, too"
        " long to be kept, or lost. It was not run again. To run it again, send a new key.",
        code="idempotency_answer_not_kept",
        param=PARAM,
    )


def unknown(first: str) -> GanglionError:
    return OutcomeUnknown(
        f"The gateway that ran {first} with this Idempotency-Key is gone, and whether a worker"
        " finished it is not known yet. It was not run again. Ask later, or send a new key.",
        param=PARAM,
        retry_after=5,
    )


def brain_away() -> GanglionError:
    return Unavailable(
        "Whether this Idempotency-Key was used cannot be checked just now, so nothing was run;"
        " send the request again.",
        retry_after=1,
    )


def too_many() -> GanglionError:
    return LimitReached("Too many requests with an Idempotency-Key at once.", retry_after=1)


def kept_error(kept: Kept) -> GanglionError:
    """An error that was kept, as it is told again."""
    return WorkerRefused(kept.status, kept.body)
