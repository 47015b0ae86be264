"""The room of documents: invoices of use, receipts of top-ups, credit notes. This is its door."""

from brain.invoices.proofs import InvoiceProofs
from brain.invoices.reconcile import invoice_months, receipts_due
from brain.invoices.service import Seller, issue_receipts

__all__ = ["InvoiceProofs", "Seller", "invoice_months", "issue_receipts", "receipts_due"]
