"""Lists are paged: ``?limit=50&cursor=...`` -> ``{"items": [...], "next": "..." | null}``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from kernel.errors import BadInput

T = TypeVar("T")
R = TypeVar("R")

LIMIT_MAX = 200


class Page(BaseModel, Generic[T]):
    """``next`` is the cursor of the following page; null at the end."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True)
class PageQuery:
    """What the caller asked for. ``after`` holds the last row's sort key, or nothing."""

    limit: int
    after: tuple[str, ...]

    def after_one(self) -> str | None:
        """The sort key where it is a single value, such as an id (ids sort by birth)."""
        if len(self.after) > 1:
            raise BadInput("This cursor belongs to another list.", param="cursor")
        return self.after[0] if self.after else None


def page_query(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Most rows to return.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next` of the page before.")
    ] = None,
) -> PageQuery:
    """FastAPI dependency: ``query: PageQuery = Depends(page_query)``."""
    return PageQuery(limit=limit, after=() if cursor is None else decode_cursor(cursor))


def encode_cursor(*key: str) -> str:
    packed = json.dumps(key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[str, ...]:
    """The sort key inside, or ``BadInput``."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if not isinstance(key, list) or not all(
        isinstance(part, str) and part.isprintable() for part in key
    ):
        raise BadInput("The cursor is not one of ours; leave it out to start.", param="cursor")
    return tuple(key)


def page_of(
    rows: Sequence[R], query: PageQuery, *, key: Callable[[R], str], show: Callable[[R], T]
) -> Page[T]:
    """A page from up to ``limit + 1`` rows: the extra row only tells that there is more."""
    shown = rows[: query.limit]
    more = len(rows) > query.limit
    return Page(
        items=[show(row) for row in shown],
        next=encode_cursor(key(shown[-1])) if more and shown else None,
    )
