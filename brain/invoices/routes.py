"""HTTP of documents: the account's own, in three forms; for administrators taxes and notes."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from brain import billing
from brain.edge import (
    Page,
    PageQuery,
    attempt,
    get_ctx,
    idempotency_key,
    page_of,
    page_query,
    recall,
    remember,
)
from brain.identity import Principal, account_exists, account_user, admin_user, anyone
from brain.invoices import service, store, view
from brain.invoices.core import Paper
from brain.invoices.schemas import (
    CreditNoteBody,
    IssueBody,
    ProfileBody,
    ProfileView,
    TaxBody,
)
from brain.invoices.service import Correction, Period, Seller
from brain.invoices.view import Document, Summary
from brain.plumbing import Ctx, audit
from kernel.errors import BadInput, NotFound
from kernel.ids import AccountId, InvoiceId

router = APIRouter(prefix="/api/v1", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]
KeyIn = Annotated[str | None, Depends(idempotency_key)]
# What a browser shows of our HTML: itself alone.
SAFE = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}


def get_seller(request: Request) -> Seller:
    """Who issues; wiring puts it on the app."""
    seller: Seller = request.app.state.seller
    return seller


SellerIn = Annotated[Seller, Depends(get_seller)]


@router.get("/billing/profile")
async def profile(principal: UserIn, ctx: CtxIn) -> ProfileView:
    """Who the account is on invoices, and its tax."""
    async with ctx.db.begin() as tx:
        return ProfileView.of(await store.profile(tx, principal.account_id, ctx.clock.now()))


@router.put("/billing/profile")
async def set_profile(body: ProfileBody, principal: UserIn, ctx: CtxIn) -> ProfileView:
    """Say who the account is on invoices from now on."""
    async with ctx.db.begin() as tx:
        now = ctx.clock.now()
        row = await store.profile(tx, principal.account_id, now, lock=True)
        for name, value in body.model_dump().items():
            setattr(row, name, value)
        row.updated_at = now
        await tx.flush()
        await audit.record(tx, ctx, principal.actor, "billing.profile", principal.account_id)
        return ProfileView.of(row)


@router.put("/admin/accounts/{account_id}/tax")
async def set_tax(account_id: str, body: TaxBody, principal: AdminIn, ctx: CtxIn) -> ProfileView:
    """Set the tax of an account's invoices, from the next one on."""
    account = AccountId.parse(account_id)
    async with ctx.db.begin() as tx:
        if not await account_exists(tx, account):
            raise NotFound("There is no account with this id.")
        now = ctx.clock.now()
        row = await store.profile(tx, account, now, lock=True)
        for name, value in body.model_dump().items():
            setattr(row, name, value)
        row.updated_at = now
        await tx.flush()
        detail: audit.Detail = {"name": body.tax_name, "basis_points": body.tax_basis_points}
        await audit.record(tx, ctx, principal.actor, "billing.tax", account, detail)
        return ProfileView.of(row)


@router.get("/billing/invoices")
async def invoices(
    principal: ReaderIn,
    ctx: CtxIn,
    seller: SellerIn,
    query: Annotated[PageQuery, Depends(page_query)],
    paper: Annotated[Paper | None, Query(description="Only documents of this kind.")] = None,
) -> Page[Summary]:
    """Invoices, receipts and credit notes, newest first."""
    await service.issue_receipts(ctx, seller, principal.account_id)
    async with ctx.db.begin() as tx:
        rows = await store.listed(
            tx,
            principal.account_id,
            before=query.after_one(),
            paper=paper,
            limit=query.limit + 1,
        )
    return page_of(rows, query, key=lambda row: row.id, show=view.summary)


@router.post("/billing/invoices", status_code=201)
async def invoice_now(body: IssueBody, principal: UserIn, ctx: CtxIn, seller: SellerIn) -> Document:
    """Invoice now all use that stands on no invoice yet. 409 where there is none."""
    account = principal.account_id
    row = await service.issue(ctx, seller, account, Period(until=ctx.clock.now()))
    return await _document(ctx, account, row.id)


@router.get("/billing/invoices/{invoice_id}")
async def invoice(invoice_id: str, principal: ReaderIn, ctx: CtxIn) -> Document:
    """A whole document with its lines."""
    return await _document(ctx, principal.account_id, _known(invoice_id))


@router.get("/billing/invoices/{invoice_id}/html", response_class=HTMLResponse)
async def invoice_html(invoice_id: str, principal: ReaderIn, ctx: CtxIn) -> Response:
    """The document as a page for printing."""
    from brain.invoices.html import as_html  # with its templates: most brains show none

    doc = await _document(ctx, principal.account_id, _known(invoice_id))
    return HTMLResponse(as_html(doc), headers=SAFE)


@router.get("/billing/invoices/{invoice_id}/pdf", response_class=Response)
async def invoice_pdf(invoice_id: str, principal: ReaderIn, ctx: CtxIn) -> Response:
    """The document as PDF: the same bytes each time."""
    from brain.invoices.pdf import as_pdf  # with ReportLab, which takes long to import

    doc = await _document(ctx, principal.account_id, _known(invoice_id))
    made = await asyncio.to_thread(as_pdf, doc)
    name = f'attachment; filename="{doc.number}.pdf"'
    return Response(made, media_type="application/pdf", headers={"content-disposition": name})


@router.post("/admin/invoices/{invoice_id}/credit-notes", status_code=201)
async def credit_note(
    invoice_id: str,
    body: CreditNoteBody,
    principal: AdminIn,
    ctx: CtxIn,
    seller: SellerIn,
    key: KeyIn = None,
) -> Document:
    """Take an invoice back, or a part of it: the money becomes credit of the account again."""
    known = _known(invoice_id)
    operation = f"POST /api/v1/admin/invoices/{known}/credit-notes"
    tried = attempt(principal.account_id, operation, key, body)
    asked = Correction(body.reason, body.net_cents)
    async with ctx.db.begin() as tx:
        earlier = await recall(tx, tried, at=ctx.clock.now())
        if earlier is None:
            row = await service.credit(tx, ctx, principal.actor, seller, known, asked)
            earlier = {"invoice_id": row.id, "account_id": row.account_id}
            await remember(tx, tried, earlier)
    account = AccountId(earlier["account_id"])
    await billing.after_paper(ctx, account)
    return await _document(ctx, account, InvoiceId(earlier["invoice_id"]))


async def _document(ctx: Ctx, account: AccountId, id: InvoiceId) -> Document:
    async with ctx.db.begin() as tx:
        row = await store.get(tx, id, account)
        if row is None:
            raise NotFound(f"You have no invoice {id}.")
        return view.document(row, await store.lines(tx, id))


def _known(text: str) -> InvoiceId:
    """What is no id of this kind does not exist."""
    try:
        return InvoiceId.parse(text)
    except BadInput as error:
        raise NotFound(error.detail) from None
