"""The brain's web process: ``create_app`` for servers and tests, ``python -m brain.app`` to run."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from brain import health, pages, paperwork
from brain.billing import routes as billing_routes
from brain.bridges import ModelsNear
from brain.costs import routes as cost_routes
from brain.deployments import (
    OwnedDeployments,
    catalog_routes,
    change_routes,
    feed_routes,
    log_routes,
    scaling_routes,
)
from brain.deployments import routes as deployment_routes
from brain.earnings import routes as earnings_routes
from brain.edge import logs, problems
from brain.edge.furniture import Furniture
from brain.edge.limits import AddressLimits
from brain.fleet import routes as fleet_routes
from brain.fleet.door import BEAT_PATH, WAKE_PATH, BeatDoor
from brain.history import routes as history_routes
from brain.identity import Passwords
from brain.identity import routes as identity_routes
from brain.invoices import routes as invoice_routes
from brain.limits import Dealer
from brain.limits import routes as limit_routes
from brain.marketplace import routes as marketplace_routes
from brain.offers import Market
from brain.offers import routes as offer_routes
from brain.payments import admin_routes as payment_admin_routes
from brain.payments import hook_routes as payment_hook_routes
from brain.payments import routes as payment_routes
from brain.payouts import routes as payout_routes
from brain.plumbing import Ctx
from brain.plumbing.collector import settle_collector
from brain.pods import keeping_routes, stray_routes
from brain.pods import routes as pod_routes
from brain.pricing import routes as price_routes
from brain.provisioning import routes as provisioning_routes
from brain.replays import routes as replay_routes
from brain.secrets import routes as secret_routes
from brain.settings import Environment, Settings, UnsafeSettings, load
from brain.spending import routes as spending_routes
from brain.terms import pod_front, trust_terms
from brain.trust import routes as trust_routes
from brain.wiring import Parts, assemble, proof_sources
from brain.witness import routes as witness_routes

# Requests under way at a stop have this long; an agent's long poll is cut, and asks again.
GRACE_SECONDS = 3

_log = structlog.get_logger()


class Brain(FastAPI):
    """Beats come in at a door of their own, before what every other request passes."""

    door: BeatDoor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.door(scope, receive, send)


def create_app(
    settings: Settings, *, ctx: Ctx | None = None, passwords: Passwords | None = None
) -> FastAPI:
    """The whole management API over ``settings``; ``ctx`` replaces database, clock and ids."""
    parts = assemble(settings, ctx=ctx, passwords=passwords)
    app = Brain(
        title="Ganglion",
        version=pages.VERSION,
        summary="Accounts, models, deployments, nodes and the bill of a GPU cloud.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.door = BeatDoor(
        super(Brain, app).__call__,
        front=parts.agents,
        clock=parts.ctx.clock,
        answered=parts.metrics.counted("POST", BEAT_PATH, 200),
        waited=parts.metrics.counted("GET", WAKE_PATH, 204),
    )
    app.state.parts = parts
    app.state.ctx = parts.ctx
    app.state.identity = parts.identity
    app.state.limits = parts.limits
    app.state.dealer = Dealer(parts.valkey, parts.ctx.clock)
    app.state.agents = parts.agents
    app.state.vault = parts.vault
    app.state.pod_front = pod_front(settings)
    app.state.join_terms = parts.join_terms
    app.state.trust_terms = trust_terms(settings)
    app.state.proof_sources = proof_sources()
    app.state.payout_terms = parts.payout_terms
    app.state.payments = parts.payments.desk
    app.state.seller = paperwork.seller(settings)
    app.state.costs = paperwork.recorder(settings, parts.ctx)
    app.state.agent_updates = parts.updates
    app.state.catalog = parts.catalog
    app.state.feed = parts.feed
    app.state.renters = OwnedDeployments()
    app.state.link_gateways = parts.link_gateways
    app.state.market = Market(parts.ctx, ModelsNear())
    app.state.wake = parts.wake
    app.state.replays = parts.replays
    app.state.gateway_token = settings.gateway_token.get_secret_value()
    app.state.settings = settings
    problems.install(app)
    for router in _routers():  # as they are: to include them would prepare each route once more
        app.router.routes.extend(router.routes)
    app.mount("/docs/files", pages.DOCS_FILES)
    _add_middleware(app, parts)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _routers() -> tuple[APIRouter, ...]:
    # Routes are matched in order: beats come most often by far.
    return (
        fleet_routes.router,
        pages.router,
        health.router,
        identity_routes.router,
        limit_routes.router,
        secret_routes.router,
        billing_routes.router,
        invoice_routes.router,
        price_routes.router,
        spending_routes.router,
        cost_routes.router,
        replay_routes.router,
        marketplace_routes.router,
        trust_routes.router,
        provisioning_routes.router,
        deployment_routes.router,
        pod_routes.router,
        keeping_routes.router,
        stray_routes.router,
        history_routes.router,
        change_routes.router,
        scaling_routes.router,
        log_routes.router,
        catalog_routes.router,
        offer_routes.router,
        feed_routes.router,
        witness_routes.router,
        earnings_routes.router,
        payment_routes.router,
        payment_admin_routes.router,
        payment_hook_routes.router,
        payout_routes.router,
    )


def _add_middleware(app: FastAPI, parts: Parts) -> None:
    """The last one added is the outermost."""
    app.add_middleware(AddressLimits, limits=parts.limits)
    if parts.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(parts.settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
            expose_headers=["x-request-id", "retry-after"],
            max_age=600,
        )
    app.add_middleware(
        Furniture,
        clock=parts.ctx.clock,
        ids=parts.ctx.ids,
        metrics=parts.metrics,
        https_only=parts.settings.environment is Environment.PRODUCTION,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    app.state.costs.start()
    await paperwork.first_price(parts.settings, parts.ctx)
    await parts.start()
    _log.info("brain_started", environment=parts.settings.environment.value)
    try:
        async with billing_routes.receiving(app):
            yield
    finally:
        await app.state.costs.close()
        await parts.close()
        _log.info("brain_stopped")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with our own error shape in the place of the framework's."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        problems.describe(made)
        app.openapi_schema = made
    return app.openapi_schema


class Server(uvicorn.Server):
    """Ends the gateways' streams and the agents' long polls first: they outlast the grace."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._parts.feed.close()
        self._parts.agents.send_home()
        await super().shutdown(sockets)


def main() -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 2 when the settings are unsafe."""
    try:
        settings = load()
    except UnsafeSettings as error:
        sys.stderr.write("The brain does not start:\n")
        sys.stderr.writelines(f"- {sentence}\n" for sentence in error.sentences)
        return 2
    logs.configure(debug=settings.debug)
    # uvicorn raises the signal again after its clean stop; this keeps that from killing us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    app = create_app(settings)
    settle_collector()
    server = Server(
        uvicorn.Config(
            app,
            host=settings.brain_host,
            port=settings.brain_port,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=2048,
        ),
        app.state.parts,
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    raise SystemExit(main())
