"""HTTP furniture of the management API: problems, pages, idempotency keys, ids, limits, logs."""

from brain.edge.context import get_ctx, request_id
from brain.edge.gateway import gateway_link
from brain.edge.idempotency import Attempt, attempt, idempotency_key, recall, remember
from brain.edge.limits import Limits, get_limits
from brain.edge.paging import (
    Page,
    PageQuery,
    decode_cursor,
    encode_cursor,
    page_of,
    page_query,
)
from brain.edge.problems import UnsupportedMedia
from brain.edge.texts import Body, Line, Name

__all__ = [
    "Attempt",
    "Body",
    "Limits",
    "Line",
    "Name",
    "Page",
    "PageQuery",
    "UnsupportedMedia",
    "attempt",
    "decode_cursor",
    "encode_cursor",
    "gateway_link",
    "get_ctx",
    "get_limits",
    "idempotency_key",
    "page_of",
    "page_query",
    "recall",
    "remember",
    "request_id",
]
