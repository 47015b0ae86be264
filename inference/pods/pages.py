"""What the front answers by itself: errors as a small page or JSON, its own health and figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from inference.errors import REASONS
from inference.pods.front import Front
from inference.pods.heads import Header
from kernel.errors import GanglionError, NotFound, problem

_ENCODE = msgspec.json.Encoder().encode
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<body style="font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em">
<h1 style="font-size:1.3em">{title}</h1><p>{detail}</p>
<p style="color:#777">{status} {code}</p></body></html>
"""


def refusal(error: GanglionError, headers: Sequence[Header], *, bodiless: bool) -> bytes:
    """The whole answer, after which the connection closes: a page for browsers, else JSON."""
    if _wants_html(headers):
        kind = "text/html; charset=utf-8"
        body = PAGE.format(
            title=escape(error.title),
            detail=escape(error.detail),
            status=error.status,
            code=escape(error.error_code),
        ).encode()
    else:
        kind, body = "application/problem+json", _ENCODE(problem(error))
    extra = []
    if error.status in (429, 503):
        extra.append(f"Retry-After: {min(max(error.retry_after or 1, 1), 120)}")
    return _answer(error.status, kind, body, extra, bodiless=bodiless)


def own(front: Front, method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
    """What is asked of the front's own name. Raises ``NotFound``."""
    path = target.partition(b"?")[0]
    bodiless = method == b"HEAD"
    if method in (b"GET", b"HEAD"):
        if path == b"/health/live":
            return _json(200, {"status": "live"}, bodiless=bodiless)
        if path == b"/health/ready":
            reason = front.why_not_ready()
            if reason is None:
                return _json(200, {"status": "ready"}, bodiless=bodiless)
            return _json(503, {"status": "not ready", "reason": reason}, bodiless=bodiless)
        if path == b"/metrics":
            text = "".join(f"ganglion_pods_{name} {value}\n" for name, value in _figures(front))
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return _answer(200, kind, text.encode(), [], bodiless=bodiless)
    domain = front.settings.pod_domain
    raise NotFound(f"A pod's port is at <pod>-<port>.{domain}.", code="unknown_url")


def _figures(front: Front) -> list[tuple[str, float]]:
    return [
        ("known", len(front.pods)),
        ("open", front.open_now),
        ("connections", len(front.connections)),
        ("brain_connected", int(front.connected)),
        ("ready", int(front.why_not_ready() is None)),
        ("ssh_connections", front.ssh_connections),
        *sorted(front.link_gauges().items()),
        *((f"{name}_total", count) for name, count in sorted(front.counted.items())),
    ]


def _json(status: int, body: object, *, bodiless: bool) -> bytes:
    return _answer(status, "application/json", _ENCODE(body), [], bodiless=bodiless)


def _answer(status: int, kind: str, body: bytes, extra: Sequence[str], *, bodiless: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *extra,
    ]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if bodiless else head + body


def _wants_html(headers: Sequence[Header]) -> bool:
    return any(name.lower() == b"accept" and b"text/html" in value for name, value in headers)
