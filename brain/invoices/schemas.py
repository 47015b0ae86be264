"""Bodies of the routes of documents and of who a customer is on paper."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from brain.edge import Body, Line
from brain.invoices.models import Profile

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=_PRINTABLE)]
Address = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$"
    ),
]
Country = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")]
Mail = Annotated[str, StringConstraints(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")]


class ProfileBody(Body):
    """Who you are on paper. Documents that are issued keep what stood here then."""

    legal_name: Short = ""
    address: Annotated[Address, Field(description="Lines of the address.")] = ""
    country: Annotated[Country, Field(description="ISO 3166, two letters.")] = ""
    tax_id: Short = ""
    email: Mail = ""


class TaxBody(Body):
    """The tax of an account's invoices, from the next one on."""

    tax_name: Annotated[Short, Field(min_length=1)] = "VAT"
    tax_basis_points: Annotated[int, Field(ge=0, le=10_000, strict=True)]
    tax_note: Annotated[Short, Field(description="Such as: Reverse charge.")] = ""


class ProfileView(BaseModel):
    legal_name: str
    address: str
    country: str
    tax_id: str
    email: str
    tax_name: str
    tax_basis_points: int
    tax_note: str

    @classmethod
    def of(cls, row: Profile) -> ProfileView:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class IssueBody(Body):
    """Nothing to say: all use that stands on no invoice yet is invoiced."""


class CreditNoteBody(Body):
    """Of all that is left of the invoice, where ``net_cents`` is left out."""

    reason: Line
    net_cents: Annotated[int, Field(ge=1, le=10**12, strict=True)] | None = None
