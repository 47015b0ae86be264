"""What a stranger meets first: ``/``, ``/docs`` without the internet, ``/metrics``."""

from __future__ import annotations

import asyncio
import hmac
from html import escape
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from brain.history import nodes_text
from brain.settings import Environment, Settings
from brain.wiring import Parts
from kernel.errors import Forbidden, NotFound, Unauthenticated

router = APIRouter(include_in_schema=False)

VERSION = "0.1.0"
SCRAPE_SECONDS_MAX = 5.0
PROMETHEUS = "text/plain; version=0.0.4"
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " frame-ancestors 'none'"
)
_PAGE_HEADERS = {"content-security-policy": _PAGE_POLICY}

DOCS_FILES = StaticFiles(directory=str(swagger_ui_path))

_DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Ganglion API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css"></head><body><div id="docs"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script>
</body></html>"""
_DOCS_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true,
  validatorUrl: null, persistAuthorization: false});"""


def _about(settings: Settings) -> dict[str, Any]:
    return {
        "name": "Ganglion",
        "what": "The brain of a GPU cloud: accounts, models, deployments, nodes and the bill.",
        "version": VERSION,
        "environment": settings.environment.value,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health/dependencies",
        "register": "POST /auth/register",
        "gateway": settings.public_gateway_url,
        "openai_base_url": f"{settings.public_gateway_url}/v1",
        "support": settings.support_contact or None,
    }


@router.get("/")
async def home(request: Request) -> Response:
    """What this is and where to go: a page for people, JSON for programs."""
    parts: Parts = request.app.state.parts
    about = _about(parts.settings)
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(about)
    return HTMLResponse(_home_page(about), headers=_PAGE_HEADERS)


def _home_page(about: dict[str, Any]) -> str:
    base = escape(about["openai_base_url"])
    support = f"<p>Help: {escape(about['support'])}</p>" if about["support"] else ""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Ganglion</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
code{{background:#eee;padding:.1rem .3rem}}</style></head><body><h1>Ganglion</h1>
<p>{escape(about["what"])} Version {VERSION}, {escape(about["environment"])}.</p><ul>
<li><a href="/docs">API documentation</a> (and <a href="/openapi.json">openapi.json</a>)</li>
<li><a href="/health/dependencies">Health of each part</a></li>
<li>OpenAI-compatible models: <code>{base}</code></li>
<li>On the command line: <code>ganglion --help</code></li></ul>{support}</body></html>"""


@router.get("/docs")
async def docs() -> Response:
    return HTMLResponse(_DOCS, headers=_PAGE_HEADERS)


@router.get("/docs/start.js")
async def docs_start() -> Response:
    return Response(_DOCS_START, media_type="text/javascript", headers=_PAGE_HEADERS)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus figures. A database that is away leaves the fleet's out, not the process's."""
    parts = _for_scraping(request)
    try:
        async with asyncio.timeout(SCRAPE_SECONDS_MAX):
            await parts.fleet_gauges.refresh(parts.ctx)
    except (SQLAlchemyError, OSError, TimeoutError):
        parts.fleet_gauges.forget()
    return Response(parts.metrics.text(), media_type=PROMETHEUS)


@router.get("/metrics/nodes")
async def node_metrics(request: Request, shard: int = 0, shards: int = 1) -> Response:
    """The newest readings of each GPU, where METRICS_NODES is on; in shards for large fleets."""
    parts = _for_scraping(request)
    if not parts.settings.metrics_nodes:
        raise NotFound("There is nothing at /metrics/nodes; set METRICS_NODES=true to have it.")
    told = await nodes_text(parts.ctx, parts.agents.telemetry, shard=shard, shards=shards)
    return Response(told, media_type=PROMETHEUS)


def _for_scraping(request: Request) -> Parts:
    """The parts, for who may scrape: with the token where one is set; without one nobody in
    production, and elsewhere this machine only."""
    parts: Parts = request.app.state.parts
    token = parts.settings.metrics_token
    if token is None:
        if parts.settings.environment is Environment.PRODUCTION:
            raise NotFound("There is nothing at /metrics; set METRICS_TOKEN to have it.")
        if request.client is None or not _loopback(request.client.host):
            raise Forbidden("Without METRICS_TOKEN, /metrics is for this machine alone.")
        return parts
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if not hmac.compare_digest(given, token.get_secret_value().encode()):
        raise Unauthenticated("Send METRICS_TOKEN as 'Authorization: Bearer ...'.")
    return parts


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
