"""invoices: list, show, issue now, save as PDF; who the account is on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, given, listed
from cli.faults import CliError
from cli.output import cell, console, facts, show_json, table, when

app = typer.Typer(no_args_is_help=True, help="Invoices, receipts and credit notes: list, save.")

WORDS = {"invoice": "invoice", "receipt": "receipt", "credit_note": "credit note"}
Which = Annotated[str, typer.Argument(metavar="NUMBER|ID", help="Such as INV-2026-000001.")]


@app.command("list")
def list_invoices(
    paper: Annotated[
        str | None, typer.Option(help="Only: invoice, receipt or credit_note.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
    limit: Limit = 50,
) -> None:
    """All documents of the account, newest first."""
    with connect(brain_url) as brain:
        found = listed(brain, "/api/v1/billing/invoices", limit, paper=paper)
    if json:
        show_json(found)
        return
    table(
        "",
        ["number", "what", "issued", ">total"],
        [
            [f"[bold]{cell(d['number'])}[/]", WORDS[d["paper"]], when(d["issued_at"]), d["total"]]
            for d in found
        ],
        empty="No documents yet. Invoices come at each month's end; now: ganglion invoices issue",
    )


@app.command("show")
def show_invoice(which: Which, brain_url: BrainUrl = None, json: Json = False) -> None:
    """A document with its lines."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/billing/invoices/{_id(brain, which)}")
    show(found, json)


@app.command("issue")
def issue(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Invoice now all use that stands on no invoice yet."""
    with connect(brain_url, user=True) as brain:
        found = brain.post("/api/v1/billing/invoices", {})
    show(found, json)


@app.command("pdf")
def save_pdf(
    which: Which,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Save a document as PDF."""
    with connect(brain_url) as brain:
        found = brain.get(f"/api/v1/billing/invoices/{_id(brain, which)}")
        place = to or Path(f"{found['number']}.pdf")
        written = brain.save(f"/api/v1/billing/invoices/{found['invoice_id']}/pdf", place)
    if json:
        show_json({"file": str(place), "bytes": written})
    else:
        console.print(f"{cell(place)}: {written:,} bytes.")


@app.command("profile")
def profile(
    name: Annotated[str | None, typer.Option(help="The legal name.")] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="A line of the address; repeatable.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Two letters, such as UG.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="Your tax number.")] = None,
    email: Annotated[str | None, typer.Option(help="Where bills go.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Show or set who the account is on documents. What is issued keeps what stood then."""
    lines = "\n".join(address) if address is not None else None
    changed = given(legal_name=name, address=lines, country=country, tax_id=tax_id, email=email)
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/billing/profile")
        if changed:
            own = {field: found[field] for field in OWN}
            found = brain.put("/api/v1/billing/profile", {**own, **changed})
    if json:
        show_json(found)
        return
    shown = {field.replace("_", " "): cell(found[field]) for field in OWN}
    facts({**shown, "tax": f"{cell(found['tax_name'])} {found['tax_basis_points'] / 100:g} %"})


OWN = ("legal_name", "address", "country", "tax_id", "email")


def show(found: dict[str, Any], json: bool) -> None:
    """A document for people, or as JSON."""
    if json:
        show_json(found)
        return
    console.print(f"[bold]{cell(found['title'])} {cell(found['number'])}[/]")
    table(
        "",
        ["what", "from", "until", ">quantity", ">amount"],
        [
            [
                cell(line["title"]),
                when(line["from_at"]),
                when(line["until_at"]),
                cell(line["quantity"]),
                line["amount"],
            ]
            for line in found["lines"]
        ],
    )
    facts(
        {
            "net": found["net"],
            cell(found["tax_name"]): f"{found['tax']} ({cell(found['tax_rate'])})",
            "total": f"[bold]{found['total']}[/] {cell(found['settled'])}",
        }
    )


def _id(brain: Any, text: str) -> str:
    """The id of a document named by its id or its number."""
    if text.startswith("inv_"):
        return text
    for item in brain.pages("/api/v1/billing/invoices"):
        if item["number"] == text:
            return str(item["invoice_id"])
    raise CliError(
        f"You have no document {text[:40]!r}.",
        "ganglion invoices list shows what you have.",
        code="not_found",
    )
