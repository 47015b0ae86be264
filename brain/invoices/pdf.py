"""A document as PDF, by ReportLab alone. The same document gives the same bytes, for ever.

Its fonts cover western Europe; what they lack is shown without its accents, else as ``?``. The
HTML and JSON forms show every script.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from io import BytesIO
from xml.sax.saxutils import escape

from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from reportlab.platypus.flowables import Flowable

from brain.invoices.core import Paper
from brain.invoices.view import Document, Party, day, span

REGULAR, BOLD = "Vera", "VeraBd"
MARGIN = 18 * mm
WIDTH = A4[0] - 2 * MARGIN
COLUMNS = [WIDTH * part for part in (0.38, 0.27, 0.19, 0.16)]


def as_pdf(doc: Document) -> bytes:
    """Some tens of milliseconds of one core: call it in a thread."""
    _fonts()
    out = BytesIO()
    made = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=f"{doc.title} {doc.number}",
        author=doc.seller.name,
        invariant=1,
    )
    made.build(_story(doc), onFirstPage=_foot(doc), onLaterPages=_foot(doc))
    return out.getvalue()


@cache
def _fonts() -> frozenset[int]:
    """Registers the fonts that come with ReportLab; the characters that both have."""
    rl_config.shapedFontGlob = None
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    faces = [pdfmetrics.getFont(name).face for name in (REGULAR, BOLD)]
    return frozenset(faces[0].charToGlyph) & frozenset(faces[1].charToGlyph)


def _text(text: str) -> str:
    """Only what the fonts have, and no markup."""
    known = _fonts()
    shown = []
    for char in text:
        if ord(char) in known or char == "\n":
            shown.append(char)
            continue
        plain = [c for c in unicodedata.normalize("NFKD", char) if ord(c) in known]
        shown.append("".join(plain) or "?")
    return escape("".join(shown)).replace("\n", "<br/>")


def _style(font: str = REGULAR, size: float = 9, *, right: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        f"{font}{size}{right}",
        fontName=font,
        fontSize=size,
        leading=size * 1.35,
        alignment=2 if right else 0,
        splitLongWords=1,
    )


def _cell(text: str, *, bold: bool = False, right: bool = False) -> Paragraph:
    return Paragraph(_text(text), _style(BOLD if bold else REGULAR, right=right))


def _story(doc: Document) -> list[Flowable]:
    issued = f"Issued {day(doc.issued_at)}"
    if doc.paper is Paper.INVOICE:
        issued += f" · use posted from {day(doc.period_from)} to {day(doc.period_until)} (UTC)"
    parties = Table(
        [[_party("From", doc.seller, ""), _party("To", doc.customer, doc.customer_account)]],
        colWidths=[WIDTH / 2] * 2,
        style=TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)]),
    )
    story: list[Flowable] = [
        Paragraph(_text(f"{doc.title} {doc.number}"), _style(BOLD, 16)),
        Spacer(1, 3 * mm),
        _cell(issued),
        Spacer(1, 6 * mm),
        parties,
        Spacer(1, 8 * mm),
        _table(doc),
        Spacer(1, 6 * mm),
        _cell(doc.settled),
    ]
    if doc.note:
        story += [Spacer(1, 2 * mm), _cell(doc.note)]
    return story


def _party(who: str, party: Party, account: str) -> list[Flowable]:
    tax_id = f"Tax id {party.tax_id}" if party.tax_id else ""
    lines = [party.address, party.country, tax_id, account]
    shown: list[Flowable] = [_cell(who), _cell(party.name, bold=True)]
    return shown + [_cell(line) for line in lines if line]


def _table(doc: Document) -> Table:
    rows = [
        [
            _cell("What", bold=True),
            _cell("When (UTC)", bold=True),
            _cell("Quantity", bold=True, right=True),
            _cell("Amount", bold=True, right=True),
        ]
    ]
    rows += [
        [
            _cell(line.title),
            _cell(span(line)),
            _cell(line.quantity, right=True),
            _cell(line.amount, right=True),
        ]
        for line in doc.lines
    ]
    sums = [("Net", doc.net, False)]
    if doc.paper is not Paper.RECEIPT:
        sums.append((f"{doc.tax_name} {doc.tax_rate}", doc.tax, False))
    sums.append((f"Total ({doc.currency})", doc.total, True))
    for name, amount, bold in sums:
        rows.append(
            [
                _cell(""),
                _cell(""),
                _cell(name, bold=bold, right=True),
                _cell(amount, bold=bold, right=True),
            ]
        )
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, len(doc.lines)), 0.3, colors.HexColor("#bbbbbb")),
            ("LINEABOVE", (2, -1), (-1, -1), 0.8, colors.black),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ]
    )
    return Table(rows, colWidths=COLUMNS, style=style, repeatRows=1)


def _foot(doc: Document):  # type: ignore[no-untyped-def]
    def draw(canvas: Canvas, _: SimpleDocTemplate) -> None:
        canvas.setFont(REGULAR, 7)
        canvas.drawString(MARGIN, 10 * mm, f"{doc.title} {doc.number}")
        canvas.drawRightString(A4[0] - MARGIN, 10 * mm, f"Page {canvas.getPageNumber()}")

    return draw
