"""HTTP of billing: for gateways under /internal/gateway, for accounts under /api/v1."""

from __future__ import annotations

from fastapi import APIRouter

from brain.billing.routes import account, books, gateway, receipts

receiving = gateway.receiving  # held by the web process while it serves

router = APIRouter()
router.include_router(gateway.router)
router.include_router(account.router)
router.include_router(receipts.router)
router.include_router(books.router)
