"""One JSON line per event on stderr, with secrets taken out, also from other libraries' logs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

Event = MutableMapping[str, Any]

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"pass(word|wd)?$|secret|token$|authorization|cookie|api_?key$|master_key|private_key|^key$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"gk_[A-Za-z0-9_-]{20,}"  # our API keys
    r"|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # JWTs
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password@ in addresses
    r"|(?<=[Bb]earer )[^\s'\"]+"
    r"|\$argon2[^\s'\"]+"
)
_DEPTH_MAX = 6
_TEXT_MAX = 20_000


def hide(value: Any, depth: int = 0) -> Any:
    """``value`` with every secret in it hidden."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(HIDDEN, value[:_TEXT_MAX])
    if depth >= _DEPTH_MAX:
        return HIDDEN
    if isinstance(value, dict):
        return {
            str(name): HIDDEN if _SECRET_NAME.search(str(name)) else hide(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [hide(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return hide(str(value), depth + 1)


def drop_colours(_logger: object, _method: str, event: Event) -> Event:
    """uvicorn adds its message once more, with colours."""
    event.pop("color_message", None)
    return event


def hide_secrets(_logger: object, _method: str, event: Event) -> Event:
    """structlog processor; runs last before the rendering, when exceptions are text already."""
    hidden: Event = hide(dict(event))
    return hidden


def configure(*, debug: bool) -> None:
    """Send every log of this process through the same processors."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            drop_colours,
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.JSONRenderer(),
        ],
    )
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [out]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for noisy in ("uvicorn.access", "sqlalchemy.engine", "asyncio", "httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
