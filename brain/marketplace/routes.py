"""HTTP of the marketplace: providers, join tokens, enrolment, prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from brain.edge import get_ctx
from brain.identity import Principal, account_user
from brain.marketplace import core, service
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
    command = f"BRAIN_URL={terms.brain_url} JOIN_TOKEN={made.secret} ganglion agent"
    return JoinTokenView(
        token_id=made.token_id, token=made.secret, expires_at=made.expires_at, command=command
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
