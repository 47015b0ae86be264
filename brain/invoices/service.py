"""Documents: invoices of use, receipts of top-ups, credit notes; a function a verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

from brain import billing, deployments, notices, pods
from brain.billing import Charged, UseKind
from brain.identity import addresses_of
from brain.invoices import core, store, view
from brain.invoices.core import Line, LineKind, Paper, Totals, Use
from brain.invoices.models import InvoiceRow, Profile
from brain.plumbing import Ctx, Tx, audit
from kernel.errors import BadInput, Conflict, NotFound
from kernel.ids import AccountId, InvoiceId, TxId, uuid7

# No transaction of the journal commits so long after its id was born.
LATE_DAYS = 2
RECEIPTS_AT_ONCE = 200
USES = {
    UseKind.LEASE_CREDIT: LineKind.CREDITED,
    UseKind.WAIVER: LineKind.CREDITED,
    UseKind.POOL_WINDOW: LineKind.SHARED,
    UseKind.STORAGE_TIME: LineKind.STORAGE,
}
LATE_ENDS = "for requests whose end was reported late"


@dataclass(frozen=True)
class Seller:
    """Who issues, as it stands on the paper."""

    name: str
    address: str
    tax_id: str


@dataclass(frozen=True)
class Period:
    """``month`` names a monthly invoice; without it it was asked for."""

    until: datetime
    month: date | None = None

    @property
    def before(self) -> datetime:
        """What was posted before this belongs to it; what was asked for includes this moment."""
        return self.until if self.month is not None else self.until + timedelta(microseconds=1)


async def issue(ctx: Ctx, seller: Seller, account: AccountId, period: Period) -> InvoiceRow:
    """An invoice of all use that was posted before the period's end and stands on none yet.

    ``Conflict`` when that is nothing, or less than a cent. May run any number of times at once:
    the account's profile is the lock, and each posting is marked with its invoice.
    """
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        profile = await store.profile(tx, account, now, lock=True)
        before = await store.last_until(tx, account)
        id = ctx.ids.new(InvoiceId)
        charged = await billing.mark_use(
            tx, account, id, until=period.before, since=_since(before, now)
        )
        lines = await _lines(tx, charged)
        sums = core.totals(lines, profile.tax_basis_points)
        if not any(line.cents for line in lines):
            raise Conflict("Nothing was used since the last invoice, or less than a cent.")
        starts = [line.from_ns for line in lines if line.from_ns is not None]
        first = datetime.fromtimestamp(min(starts) // 10**9, UTC) if starts else period.until
        row = await _numbered(tx, ctx, Paper.INVOICE, account, sums, profile, seller)
        row.id, row.month, row.note = id, period.month, profile.tax_note
        row.period_from, row.period_until = before or min(first, period.until), period.until
        row.net_nano = sum(line.nano for line in lines)
        await store.add(tx, row, lines)
        await ctx.reach("invoices.numbered")
        await _take_tax(tx, ctx, row)
        if period.month is not None:
            await store.month_done(tx, period.month, account)
    return row


def _since(before: datetime | None, now: datetime) -> TxId | None:
    """The least id that a posting which stands on no invoice yet may have."""
    if before is None:
        return None
    born = min(before, now) - timedelta(days=LATE_DAYS)
    return TxId.of(uuid7(int(born.timestamp() * 1000), 0))


async def _lines(tx: Tx, charged: Sequence[Charged]) -> list[Line]:
    ids = {one.deployment_id for one in charged if one.deployment_id is not None}
    names: dict[str, str] = {}
    for id, named in (await deployments.deployment_names(tx, ids)).items():
        names[id] = named.name
        names[f"model of {id}"] = named.model
    names |= {str(k): v for k, v in (await pods.pod_names(tx, ids)).items()}
    volumes = {one.volume_id for one in charged if one.volume_id is not None}
    names |= {str(k): v for k, v in (await pods.volume_names(tx, volumes)).items()}
    return core.lines_of([_use(one, names) for one in charged], names)


def _use(one: Charged, names: dict[str, str]) -> Use:
    kind = USES.get(one.kind)
    if kind is None:
        kind = LineKind.POD if one.mode == "pod" else LineKind.DEPLOYMENT
    subject = str(one.deployment_id or one.volume_id or LATE_ENDS)
    if one.mode == "pool" and kind is LineKind.SHARED:
        subject = names.get(f"model of {subject}", subject)
    return Use(kind, subject, one.nano, one.gpu_ns, one.gib_ns, one.from_ns, one.until_ns)


async def _numbered(
    tx: Tx,
    ctx: Ctx,
    paper: Paper,
    account: AccountId,
    sums: Totals,
    profile: Profile,
    seller: Seller,
) -> InvoiceRow:
    """A row with the next number of its series; the caller says the rest."""
    now, series = ctx.clock.now(), core.SERIES[paper]
    place = await store.next_place(tx, series, now.year)
    return InvoiceRow(
        id=ctx.ids.new(InvoiceId),
        paper=paper.value,
        series=series,
        year=now.year,
        place=place,
        number=core.number(series, now.year, place),
        account_id=account,
        issued_at=now,
        currency="USD",
        net_nano=sums.net_cents * core.CENT_NANO,
        net_cents=sums.net_cents,
        tax_name=profile.tax_name,
        tax_basis_points=profile.tax_basis_points,
        tax_cents=sums.tax_cents,
        gross_cents=sums.gross_cents,
        note="",
        seller=asdict(seller),
        customer=_customer(profile),
    )


def _customer(profile: Profile) -> dict[str, str]:
    return {
        "name": profile.legal_name,
        "address": profile.address,
        "country": profile.country,
        "tax_id": profile.tax_id,
        "email": profile.email,
    }


async def _take_tax(tx: Tx, ctx: Ctx, row: InvoiceRow) -> None:
    await billing.paper_posted(
        tx,
        ctx,
        row.account_id,
        row.id,
        kind="tax",
        memo=f"{row.tax_name} of invoice {row.number}",
        tax_nano=-row.tax_cents * core.CENT_NANO,
    )


async def issue_receipts(ctx: Ctx, seller: Seller, account: AccountId) -> int:
    """A receipt for each top-up of the account that has none. Returns how many."""
    now, done = ctx.clock.now(), 0
    async with ctx.db.begin() as tx:
        if not await billing.unmarked(tx, account, ["purchase"], limit=1):
            return 0
        profile = await store.profile(tx, account, now, lock=True)
        for paid in await billing.unmarked(tx, account, ["purchase"], limit=RECEIPTS_AT_ONCE):
            line = Line(LineKind.TOP_UP, paid.tx_id, paid.memo, "", None, None, paid.nano)
            lines = core.dealt([line])
            sums = Totals(lines[0].cents, 0)
            row = await _numbered(tx, ctx, Paper.RECEIPT, account, sums, profile, seller)
            row.tax_basis_points, row.net_nano = 0, paid.nano
            row.period_from = row.period_until = paid.at
            row.note = "Prepaid credit. Tax stands on the invoices of what is used of it."
            await store.add(tx, row, lines)
            await ctx.reach("invoices.receipt_numbered")
            await billing.mark_document(tx, account, paid.tx_id, row.id)
            await _tell_payer(tx, ctx, profile, row)
            done += 1
    return done


async def _tell_payer(tx: Tx, ctx: Ctx, profile: Profile, row: InvoiceRow) -> None:
    """One letter a receipt: they commit together."""
    addresses = [profile.email] if profile.email else await addresses_of(tx, row.account_id)
    words = view.receipt_words(row)
    for address in addresses:
        notices.mail(tx, ctx, address, words.subject, words.text)


@dataclass(frozen=True)
class Correction:
    """``net_cents`` None: all that is left of the invoice."""

    reason: str
    net_cents: int | None


async def credit(
    tx: Tx, ctx: Ctx, actor: str, seller: Seller, invoice_id: InvoiceId, asked: Correction
) -> InvoiceRow:
    """A credit note on an invoice; its money goes back to the account in the same transaction.
    Never more than the invoice, over all its notes. Say ``billing.after_paper`` after it."""
    invoice = await store.get(tx, invoice_id, lock=True)
    if invoice is None:
        raise NotFound("There is no such invoice.")
    if invoice.paper != Paper.INVOICE.value:
        raise BadInput("Only an invoice is corrected by a credit note.", param="invoice_id")
    profile = await store.profile(tx, invoice.account_id, ctx.clock.now())
    net_before, tax_before = await store.corrected(tx, invoice_id)
    net = core.credit_cents(asked.net_cents, net_cents=invoice.net_cents, credited_cents=net_before)
    tax = core.tax_of(net_before + net, invoice.tax_basis_points) - tax_before
    title = f"Correction of {invoice.number}: {asked.reason}"
    line = Line(LineKind.CORRECTION, invoice.id, title, "", None, None, -net * core.CENT_NANO, -net)
    sums = Totals(-net, -tax)
    row = await _numbered(tx, ctx, Paper.CREDIT_NOTE, invoice.account_id, sums, profile, seller)
    row.tax_name, row.tax_basis_points = invoice.tax_name, invoice.tax_basis_points
    row.customer, row.corrects, row.note = invoice.customer, invoice.id, asked.reason
    await store.add(tx, row, [line])
    await billing.paper_posted(
        tx,
        ctx,
        row.account_id,
        row.id,
        kind="credit_note",
        memo=f"Credit note {row.number} on invoice {invoice.number}",
        net_nano=net * core.CENT_NANO,
        tax_nano=tax * core.CENT_NANO,
    )
    detail: audit.Detail = {"number": row.number, "net_cents": net, "tax_cents": tax}
    await audit.record(tx, ctx, actor, "invoice.credit", invoice.id, detail)
    return row
