"""HTTP of the marketplace: providers, join tokens, enrolment, prices."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from brain.edge import get_ctx
from brain.identity import Principal, account_user
from brain.marketplace import core, install, service
from brain.marketplace.agent_file import AgentFile, agent_file
from brain.marketplace.models import Node
from brain.marketplace.schemas import (
    JoinTokenView,
    NodePatch,
    ProviderBody,
    ProviderNodeView,
    ProviderView,
)
from brain.plumbing import Ctx
from kernel.errors import BadInput, TooLarge
from kernel.ids import NodeId
from kernel.money import NANO
from kernel.wire import decode, encode
from kernel.wire.agent import EnrollAnswer, EnrollRequest

ENROL_BYTES_MAX = 64 << 10

router = APIRouter(tags=["provider"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]


def get_join_terms(request: Request) -> service.JoinTerms:
    """What a new agent is told; wiring puts it on the app."""
    terms: service.JoinTerms = request.app.state.join_terms
    return terms


@router.post("/api/v1/provider")
async def become_provider(body: ProviderBody, ctx: CtxIn, principal: UserIn) -> ProviderView:
    """Offer nodes under this name. Send again to change the name."""
    row = await service.become_provider(ctx, principal.account_id, body.name)
    return ProviderView(account_id=row.account_id, name=row.name, created_at=row.created_at)


@router.post("/api/v1/provider/join-tokens", status_code=201)
async def make_join_token(
    ctx: CtxIn, principal: UserIn, terms: Annotated[service.JoinTerms, Depends(get_join_terms)]
) -> JoinTokenView:
    """A token for one node, good for 30 minutes and one use. It is shown this once."""
    made = await service.make_join_token(ctx, principal.account_id)
    commands = install.commands(terms.brain_url, made.secret)
    return JoinTokenView(
        token_id=made.token_id,
        token=made.secret,
        expires_at=made.expires_at,
        command=commands["curl"],
        commands=commands,
    )


@router.patch("/api/v1/provider/nodes/{node_id}")
async def change_node(
    body: NodePatch, ctx: CtxIn, principal: UserIn, node_id: str
) -> ProviderNodeView:
    """Set what a node asks per GPU-hour, and whether it is on offer. Running work keeps its
    price."""
    price = body.price_usd_per_gpu_hour
    change = service.NodeChange(
        price_nano=None if price is None else core.price_nano(price),
        listed=body.listed,
        name=body.name,
        region=body.region,
    )
    if change == service.NodeChange():
        raise BadInput("Say what to change: price_usd_per_gpu_hour, listed, name or region.")
    row = await service.change_node(ctx, NodeId.parse(node_id), principal.account_id, change)
    return _show(row)


async def enrol(request: Request) -> Response:
    """POST /agent/v1/enroll: a join token and a public key become a node."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > ENROL_BYTES_MAX:
            raise TooLarge(f"An enrolment has at most {ENROL_BYTES_MAX >> 10} KiB.")
    node_id = await service.enrol(get_ctx(request), decode(body, EnrollRequest))
    terms = get_join_terms(request)
    answer = EnrollAnswer(
        node_id=str(node_id),
        installation_id=terms.installation_id,
        beat_seconds=terms.beat_seconds,
    )
    return Response(encode(answer), media_type="application/json")


async def install_script(request: Request) -> Response:
    """GET /install: the script that makes a host a node. No secret in it, nor in its address."""
    terms = get_join_terms(request)
    text = install.render(
        await _packed(request), brain_url=terms.brain_url, installation_id=terms.installation_id
    )
    return Response(text, media_type="text/x-shellscript", headers={"cache-control": "no-cache"})


async def agent_file_itself(request: Request) -> Response:
    """GET /agent/file: the agent as one file. Who runs it has its SHA-256 from elsewhere."""
    made = await _packed(request)
    headers = {"etag": f'"{made.sha256}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(made.content, media_type="application/zip", headers=headers)


async def _packed(request: Request) -> AgentFile:
    """Packed at the first call, in a thread: it takes a second or two."""
    return await asyncio.to_thread(agent_file, get_join_terms(request).wheels_dir)


def latest_agent(request: Request) -> str:
    """How agents of this brain's file tell their version; empty while it is not known."""
    updates = getattr(request.app.state, "agent_updates", None)
    return "" if updates is None else str(updates.latest)


router.add_route("/install", install_script, methods=["GET"])
router.add_route("/agent/file", agent_file_itself, methods=["GET"])
router.add_route("/agent/v1/enroll", enrol, methods=["POST"])


def _show(row: Node) -> ProviderNodeView:
    return ProviderNodeView(
        node_id=row.node_id,
        name=row.name,
        price_usd_per_gpu_hour=f"{row.price_nano // NANO}.{row.price_nano % NANO:09d}",
        price_nano_per_gpu_hour=row.price_nano,
        listed=row.listed,
        region=row.region,
        created_at=row.created_at,
        revoked=row.revoked_at is not None,
    )
