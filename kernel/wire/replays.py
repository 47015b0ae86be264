"""Brain <-> gateway: who runs a request with an ``Idempotency-Key``, and what it was answered.

POST /internal/gateway/replays/claim    Claim -> ClaimAnswer    may be repeated; may wait
POST /internal/gateway/replays/settle   Settle -> Settled       may be repeated

Under ``Authorization: Bearer <GATEWAY_TOKEN>``. The prompt does not travel: ``input`` is its hash.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kernel.wire.gateway import Short

KEY_BYTES_MAX = 200
KEY_PATTERN = r"^[\x21-\x7e]+$"  # as a header bears it: printable, no spaces
_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % KEY_BYTES_MAX)
ANSWER_BYTES_MAX = 256 << 10
KEPT_SECONDS = 24 * 3600
WAIT_SECONDS_MAX = 5.0


def valid_key(text: bytes) -> bool:
    return _KEY.fullmatch(text) is not None


class Said(StrEnum):
    """What the brain says to a claim."""

    RUN = "run"  # nobody has it: run the request, then settle
    RUNNING = "running"  # another request with this key runs
    REPLAY = "replay"  # it was answered with ``answer``
    OTHER_INPUT = "other_input"  # the key was used for something else
    GONE = "gone"  # a worker began it, and its answer was not kept
    UNKNOWN = "unknown"  # its gateway died: whether a worker began it will be known later, or never


class Kept(Struct, frozen=True):
    """A whole answer as a client got it."""

    status: int
    kind: str
    body: Annotated[bytes, Meta(max_length=ANSWER_BYTES_MAX)]


class Claim(Struct, forbid_unknown_fields=True):
    """``input`` is a hash of route and body, in hex. A repeat is known by its ``request_id``."""

    account_id: Short
    key: Annotated[str, Meta(min_length=1, max_length=KEY_BYTES_MAX, pattern=KEY_PATTERN)]
    input: Short
    boot_id: Short
    request_id: Short
    wait_seconds: Annotated[float, Meta(ge=0, le=WAIT_SECONDS_MAX)] = 0


class ClaimAnswer(Struct, omit_defaults=True):
    """``request_id`` is the first request's with this key."""

    said: Said
    request_id: str
    answer: Kept | None = None


class Settle(Struct, forbid_unknown_fields=True):
    """The claimed request is over. No ``answer``: it was too long, or a stream.
    ``free``: no worker began it, and the key may be used again."""

    account_id: Short
    key: Annotated[str, Meta(min_length=1, max_length=KEY_BYTES_MAX)]
    request_id: Short
    free: bool = False
    answer: Kept | None = None


class Settled(Struct):
    """``known``: the claim was still this request's."""

    known: bool
