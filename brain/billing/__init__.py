"""The money room: ledger, holds, the meter's settlement, receipts and proofs. This is its door."""

from brain.billing.caps import Limited, Span, limited, set_limits
from brain.billing.core import table_text
from brain.billing.core.credit import Credit
from brain.billing.core.lease import LeaseMark, LeaseMode, LeaseOutcome, LeaseTerms
from brain.billing.core.posting import PURCHASES, Asset, Entry, Posting, transfer
from brain.billing.core.proof import Proof
from brain.billing.core.storage import Stored
from brain.billing.documents import Charged, Unmarked, UseKind, mark_use, unmarked
from brain.billing.documents import mark as mark_document
from brain.billing.ports import ProofSource
from brain.billing.service.accrue import accrue_due, release_due
from brain.billing.service.boots import gateway_boot, request_began
from brain.billing.service.credits import (
    Metered,
    after_credit,
    lease_credited,
    lease_witnessed,
    unwitnessed_leases,
)
from brain.billing.service.currencies import (
    DECIMALS,
    CurrencyRate,
    currency_rate,
    set_currency_rate,
)
from brain.billing.service.days import tend_days
from brain.billing.service.earned import Earned, EarnedDay, earned, earned_by_day
from brain.billing.service.gateway import MeterPolicy
from brain.billing.service.grants import (
    Grant,
    GrantKind,
    account_row,
    account_stopped,
    all_account_rows,
    can_spend,
    grant,
    purchased_credits,
    stop_account,
    stopped_accounts,
)
from brain.billing.service.group_commit import post
from brain.billing.service.leases import (
    drained,
    in_flight,
    last_used_ns,
    lease_closed,
    lease_evidence,
    lease_mark,
    lease_opened,
    lease_price,
    spending,
    taken_up,
)
from brain.billing.service.papers import after_paper, paper_posted
from brain.billing.service.payers import Parties, lease_parties, lease_payers
from brain.billing.service.proofs import proof_states, prove, prove_due
from brain.billing.service.provider_money import (
    Payable,
    ProviderLine,
    owed_providers,
    payable,
    payout_asked,
    payout_minimum,
    payout_paid,
    payout_returned,
    provider_lines,
    unpaid_at,
)
from brain.billing.service.reversals import reverse
from brain.billing.service.settle import settle_due
from brain.billing.service.storage import storage_accrued, storage_cost, storage_price
from brain.billing.store.journal import BalanceView, balances
from brain.billing.store.journal import lock as lock_balances
from brain.billing.store.journal import post_all as post_in
from brain.billing.store.key_use import key_use
from brain.billing.store.proofs import proven
from brain.billing.store.rates import (
    begin_credit_price,
    cloud_markup,
    credit_price,
    first_credit_price,
)
from brain.billing.store.segments import parked_count

__all__ = [
    "DECIMALS",
    "PURCHASES",
    "Asset",
    "BalanceView",
    "Charged",
    "Credit",
    "CurrencyRate",
    "Earned",
    "EarnedDay",
    "Entry",
    "Grant",
    "GrantKind",
    "LeaseMark",
    "LeaseMode",
    "LeaseOutcome",
    "LeaseTerms",
    "Limited",
    "MeterPolicy",
    "Metered",
    "Parties",
    "Payable",
    "Posting",
    "Proof",
    "ProofSource",
    "ProviderLine",
    "Span",
    "Stored",
    "Unmarked",
    "UseKind",
    "account_row",
    "account_stopped",
    "accrue_due",
    "after_credit",
    "after_paper",
    "all_account_rows",
    "balances",
    "begin_credit_price",
    "can_spend",
    "cloud_markup",
    "credit_price",
    "currency_rate",
    "drained",
    "earned",
    "earned_by_day",
    "first_credit_price",
    "gateway_boot",
    "grant",
    "in_flight",
    "key_use",
    "last_used_ns",
    "lease_closed",
    "lease_credited",
    "lease_evidence",
    "lease_mark",
    "lease_opened",
    "lease_parties",
    "lease_payers",
    "lease_price",
    "lease_witnessed",
    "limited",
    "lock_balances",
    "mark_document",
    "mark_use",
    "owed_providers",
    "paper_posted",
    "parked_count",
    "payable",
    "payout_asked",
    "payout_minimum",
    "payout_paid",
    "payout_returned",
    "post",
    "post_in",
    "proof_states",
    "prove",
    "prove_due",
    "proven",
    "provider_lines",
    "purchased_credits",
    "release_due",
    "request_began",
    "reverse",
    "set_currency_rate",
    "set_limits",
    "settle_due",
    "spending",
    "stop_account",
    "stopped_accounts",
    "storage_accrued",
    "storage_cost",
    "storage_price",
    "table_text",
    "taken_up",
    "tend_days",
    "transfer",
    "unmarked",
    "unpaid_at",
    "unwitnessed_leases",
]
