"""Heads of answers that are not one write: of streams, and of pages of the gateway's own. Pure."""

from __future__ import annotations

from inference import errors
from inference.answer import Answer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"


def begun(answer: Answer, request_id: str, *, chunked: bool, close: bool) -> bytes:
    """Of an answer whose end is not known yet."""
    if answer.stream is None and answer.length >= 0:
        framing = b"content-length: %d\r\n" % answer.length
    else:
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
    if answer.stream is not None:
        framing += b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-request-id: %b\r\n%b%b\r\n" % (
        answer.kind or b"application/json",
        request_id.encode(),
        framing,
        CLOSE if close else b"",
    )


def page(content: bytes, kind: bytes, status: int, request_id: str, *, close: bool) -> bytes:
    """The whole page."""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\nx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
    ) % (
        status,
        errors.REASONS[status].encode(),
        kind,
        request_id.encode(),
        CLOSE if close else b"",
        len(content),
        content,
    )
