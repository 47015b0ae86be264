"""Documents over HTTP: the PDF is opened and read, the HTML escapes, taxes and notes add up."""

from __future__ import annotations

from io import BytesIO

import httpx
import pytest
from pypdf import PdfReader

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.invoices.books import Books
from tests.support.brain import Somebody, api_key, signed_up
from tests.support.brain import admin as administrator

INVOICES = "/api/v1/billing/invoices"


@pytest.fixture
def books(ctx: Ctx, clock: ManualClock) -> Books:
    return Books(Stage(ctx, clock))


@pytest.fixture
async def admin(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    return await administrator(brain, ctx)


@pytest.fixture
async def user(brain: httpx.AsyncClient, admin: Somebody, books: Books) -> Somebody:
    """Somebody who bought $50, used $14.00 of it, and pays 19 % tax."""
    made = await signed_up(brain)
    credits = {
        "account_id": made.account_id,
        "credits": 500_000,
        "kind": "purchase",
        "reason": "paid by card",
        "idempotency_key": made.account_id,
    }
    await brain.post("/api/v1/admin/credits", json=credits, headers=admin.headers)
    tax = {"tax_name": "VAT", "tax_basis_points": 1900}
    place = f"/api/v1/admin/accounts/{made.account_id}/tax"
    assert (await brain.put(place, json=tax, headers=admin.headers)).status_code == 200
    await books.volume(AccountId(made.account_id), 1000, 100)
    return made


async def invoiced(brain: httpx.AsyncClient, user: Somebody) -> dict[str, object]:
    made = await brain.post(INVOICES, json={}, headers=user.headers)
    assert made.status_code == 201, made.text
    found: dict[str, object] = made.json()
    return found


@pytest.mark.feature("H5")
async def test_the_tax_stands_on_the_invoice_and_in_the_books(
    brain: httpx.AsyncClient, user: Somebody, books: Books
) -> None:
    doc = await invoiced(brain, user)
    assert (doc["net"], doc["tax"], doc["total"]) == ("$14.00", "$2.66", "$16.66")
    balance = (await brain.get("/api/v1/billing/balance", headers=user.headers)).json()
    assert balance["free_usd"] == "$33.34"
    assert await books.stage.posted("platform:taxes") == 2_660_000_000


@pytest.mark.feature("H5")
async def test_the_pdf_says_what_the_invoice_says(brain: httpx.AsyncClient, user: Somebody) -> None:
    who = {
        "legal_name": "Müller & Söhne <GmbH>",
        "address": "Hauptstraße 1\nBerlin",
        "tax_id": "DE9",
    }
    await brain.put("/api/v1/billing/profile", json=who, headers=user.headers)
    doc = await invoiced(brain, user)
    place = f"{INVOICES}/{doc['invoice_id']}/pdf"
    answers = [await brain.get(place, headers=user.headers) for _ in range(2)]
    assert answers[0].headers["content-type"] == "application/pdf"
    assert answers[0].content == answers[1].content
    said = "".join(page.extract_text() for page in PdfReader(BytesIO(answers[0].content)).pages)
    for text in (doc["number"], "Müller & Söhne <GmbH>", "Hauptstraße 1", "DE9", "$16.66", "19 %"):
        assert str(text) in said


@pytest.mark.feature("H5")
async def test_the_page_shows_names_as_text(brain: httpx.AsyncClient, user: Somebody) -> None:
    who = {"legal_name": "<script>alert(1)</script>"}
    await brain.put("/api/v1/billing/profile", json=who, headers=user.headers)
    doc = await invoiced(brain, user)
    page = await brain.get(f"{INVOICES}/{doc['invoice_id']}/html", headers=user.headers)
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.feature("H5")
async def test_an_invoice_keeps_who_it_was_for(brain: httpx.AsyncClient, user: Somebody) -> None:
    doc = await invoiced(brain, user)
    await brain.put("/api/v1/billing/profile", json={"legal_name": "New"}, headers=user.headers)
    again = await brain.get(f"{INVOICES}/{doc['invoice_id']}", headers=user.headers)
    assert again.json() == doc


@pytest.mark.feature("H5")
async def test_credit_notes_give_back_all_and_no_more(
    brain: httpx.AsyncClient, user: Somebody, admin: Somebody
) -> None:
    doc = await invoiced(brain, user)
    place = f"/api/v1/admin/invoices/{doc['invoice_id']}/credit-notes"
    part = {"reason": "an hour was down", "net_cents": 333}
    first = await brain.post(place, json=part, headers=admin.headers)
    assert (first.json()["net"], first.json()["number"][:3]) == ("-$3.33", "CN-")
    rest = (await brain.post(place, json={"reason": "all"}, headers=admin.headers)).json()
    taxes = first.json()["tax_cents"] + rest["tax_cents"]
    assert (taxes, first.json()["gross_cents"] + rest["gross_cents"]) == (-266, -1666)
    more = await brain.post(place, json={"reason": "more"}, headers=admin.headers)
    assert more.status_code == 422
    balance = (await brain.get("/api/v1/billing/balance", headers=user.headers)).json()
    assert balance["free_usd"] == "$50.00"


@pytest.mark.feature("H5")
async def test_a_credit_note_asked_twice_is_one(
    brain: httpx.AsyncClient, user: Somebody, admin: Somebody
) -> None:
    doc = await invoiced(brain, user)
    place = f"/api/v1/admin/invoices/{doc['invoice_id']}/credit-notes"
    headers = {**admin.headers, "idempotency-key": "once"}
    body = {"reason": "once", "net_cents": 100}
    made = [(await brain.post(place, json=body, headers=headers)).json() for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.feature("H5")
async def test_the_list_is_paged_and_holds_the_receipt(
    brain: httpx.AsyncClient, user: Somebody
) -> None:
    doc = await invoiced(brain, user)
    found, cursor = [], None
    for _ in range(2):
        asked = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await brain.get(INVOICES, params=asked, headers=user.headers)).json()
        found += [(one["paper"], one["total"]) for one in page["items"]]
        cursor = page["next"]
    assert sorted(found) == [("invoice", doc["total"]), ("receipt", "$50.00")]
    assert cursor is None


@pytest.mark.feature("H5")
@pytest.mark.parametrize("form", ["", "/html", "/pdf"])
async def test_another_accounts_document_is_not_there(
    brain: httpx.AsyncClient, user: Somebody, form: str
) -> None:
    doc = await invoiced(brain, user)
    other = await signed_up(brain)
    answer = await brain.get(f"{INVOICES}/{doc['invoice_id']}{form}", headers=other.headers)
    assert answer.status_code == 404


@pytest.mark.feature("H5")
async def test_a_key_reads_invoices_and_makes_none(
    brain: httpx.AsyncClient, user: Somebody
) -> None:
    key = {"authorization": f"Bearer {await api_key(brain, user, 'read')}"}
    assert (await brain.get(INVOICES, headers=key)).status_code == 200
    assert (await brain.post(INVOICES, json={}, headers=key)).status_code == 401


@pytest.mark.feature("H5")
@pytest.mark.parametrize(
    "wrong", [{"country": "deu"}, {"legal_name": "a\nb"}, {"tax_basis_points": 0}, {"email": "x"}]
)
async def test_a_profile_that_makes_no_sense_is_refused(
    brain: httpx.AsyncClient, user: Somebody, wrong: dict[str, object]
) -> None:
    answer = await brain.put("/api/v1/billing/profile", json=wrong, headers=user.headers)
    assert answer.status_code == 422


@pytest.mark.feature("H5")
async def test_documents_are_proven_with_the_books(
    brain: httpx.AsyncClient, user: Somebody, admin: Somebody
) -> None:
    doc = await invoiced(brain, user)
    await brain.get(INVOICES, headers=user.headers)
    place = f"/api/v1/admin/invoices/{doc['invoice_id']}/credit-notes"
    await brain.post(place, json={"reason": "all"}, headers=admin.headers)
    proofs = (await brain.get("/api/v1/proofs", headers=admin.headers)).json()
    found = {p["name"]: (p["count"], p["holds"]) for p in proofs if "invoices" in p["name"]}
    assert found == {
        "invoices_numbers": (3, True),
        "invoices_lines": (3, True),
        "invoices_use": (2, True),
    }
