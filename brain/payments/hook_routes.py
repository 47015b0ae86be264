"""What processors call, and where their pages send payers back to. Neither has a credential."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from brain.payments.hints import receive

router = APIRouter()

_DONE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Ganglion</title>
<body style="font:1rem system-ui;margin:4rem auto;max-width:30rem">
<h1>Thank you</h1><p>You may close this page. What was paid is in your balance within moments;
<code>ganglion balance</code> shows it.</p></body></html>"""


async def stripe_hook(request: Request) -> Response:
    """POST /webhooks/stripe: proven by Stripe's signature over the body. It only wakes a row."""
    return await _hook(request, "stripe")


async def coinbase_hook(request: Request) -> Response:
    """POST /webhooks/coinbase: proven by the subscription's signature. It only wakes a row."""
    return await _hook(request, "coinbase")


async def momo_hook(request: Request) -> Response:
    """PUT or POST /webhooks/momo: MoMo signs nothing, so that all it does is wake a row."""
    return await _hook(request, "momo")


async def _hook(request: Request, processor: str) -> Response:
    await receive(
        request.app.state.ctx,
        request.app.state.payments,
        processor,
        request.headers,
        await request.body(),
    )
    return Response(status_code=204)


async def done(_: Request) -> Response:
    """GET /payments/done: says thank you; what it is called with is not read."""
    return HTMLResponse(_DONE)


router.add_route("/webhooks/stripe", stripe_hook, methods=["POST"])
router.add_route("/webhooks/coinbase", coinbase_hook, methods=["POST"])
router.add_route("/webhooks/momo", momo_hook, methods=["POST", "PUT"])
router.add_route("/payments/done", done, methods=["GET"])
