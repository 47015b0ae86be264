"""Payouts by Stripe Connect: a provider's connected account, and transfers to it.

A transfer carries the payout's id as its group and as its idempotency key. Stripe forgets such keys
after a day, and lists a group for ever: so a transfer is looked for before it is asked for again.
From the connected account Stripe itself pays the provider's bank, on that account's own schedule.
"""

from __future__ import annotations

from typing import Any

import stripe

from brain.adapters.payments.stripe.api import Api
from brain.payments import Away, CredentialsRefused, PaymentError
from brain.payouts import (
    Declined,
    DisburserError,
    NotNow,
    Onboarding,
    PaymentSight,
    PayoutOrder,
    Sight,
    Standing,
    Unsure,
)
from kernel.ids import AccountId

REPEAT_SECONDS = 20 * 3600
# Ours to mend, and no fault of the provider's: the payout waits.
OURS = frozenset({"balance_insufficient", "insufficient_funds", "platform_api_key_expired"})


class StripeConnect:
    """Disburser and onboarder. ``return_url``: where Stripe's pages send the owner afterwards."""

    name = "stripe"
    repeat_seconds: int | None = REPEAT_SECONDS
    currencies = frozenset({"USD"})

    def __init__(self, api: Api, return_url: str) -> None:
        self._api = api
        self._return_url = return_url

    async def pay(self, order: PayoutOrder) -> Sight:
        asked: Any = {
            "amount": order.amount_minor,
            "currency": order.currency.lower(),
            "destination": order.address,
            "transfer_group": str(order.id),
            "description": order.description,
            "metadata": {"payout": str(order.id), "account": str(order.provider)},
        }
        once: Any = {"idempotency_key": f"payout/{order.id}"}
        try:
            made = await self._api.ask(self._api.client.v1.transfers.create_async(asked, once))
        except PaymentError as wrong:
            raise _told(wrong) from wrong
        return _sight(made, order)

    async def look(self, order: PayoutOrder) -> Sight:
        asked: Any = {"transfer_group": str(order.id), "limit": 2}
        try:
            found = await self._api.ask(self._api.client.v1.transfers.list_async(asked))
        except PaymentError as wrong:
            raise NotNow(wrong.detail, internal=wrong.internal) from wrong
        if not found.data:
            return Sight(PaymentSight.ABSENT)
        if len(found.data) > 1:
            return Sight(PaymentSight.UNCLEAR, reason="there are two transfers of it")
        return _sight(found.data[0], order)

    async def standing(self, address: str) -> Standing:
        """Whether Stripe lets this account have money, and pays its bank."""
        try:
            account = await self._api.ask(self._api.client.v1.accounts.retrieve_async(address))
        except PaymentError as wrong:
            raise _told(wrong) from wrong
        able = getattr(account.capabilities, "transfers", None) == "active"
        if able and account.payouts_enabled:
            return Standing(True)
        due = list(getattr(account.requirements, "currently_due", None) or ())
        count = f"{len(due)} things are" if len(due) != 1 else "one thing is"
        said = f"Stripe still has to hear from you ({count} missing); complete your account there."
        return Standing(False, said)

    async def onboard(self, provider: AccountId, address: str | None) -> Onboarding:
        """The provider's account, made once, and a link of a few minutes to complete it."""
        try:
            found = address or await self._made(provider)
            asked: Any = {
                "account": found,
                "type": "account_onboarding",
                "refresh_url": self._return_url,
                "return_url": self._return_url,
            }
            call = self._api.client.v1.account_links.create_async(asked)
            link = await self._api.ask(call)
        except PaymentError as wrong:
            raise _told(wrong) from wrong
        return Onboarding(found, link.url)

    async def _made(self, provider: AccountId) -> str:
        asked: Any = {
            "type": "express",
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"account": str(provider)},
        }
        once: Any = {"idempotency_key": f"connect/{provider}"}
        made = await self._api.ask(self._api.client.v1.accounts.create_async(asked, once))
        return str(made.id)

    async def close(self) -> None:
        await self._api.close()


def _sight(transfer: Any, order: PayoutOrder) -> Sight:
    """A transfer is money that the provider has, unless it was taken back whole."""
    destination = transfer.destination
    state = PaymentSight.PAID
    reason = ""
    if destination != order.address:
        state, reason = PaymentSight.UNCLEAR, "it went to another account"
    elif transfer.reversed:
        state, reason = PaymentSight.FAILED, "the transfer was taken back"
    elif transfer.amount_reversed:
        state, reason = PaymentSight.UNCLEAR, "a part of the transfer was taken back"
    return Sight(
        state,
        reference=str(transfer.id),
        reason=reason,
        amount_minor=int(transfer.amount),
        currency=str(transfer.currency).upper(),
    )


def _told(wrong: PaymentError) -> DisburserError:
    """By what can be done: a refusal of the call is final, silence is not."""
    cause = wrong.__cause__
    code = cause.code if isinstance(cause, stripe.StripeError) else None
    if isinstance(wrong, CredentialsRefused) or code in OURS:
        return NotNow("Stripe does not pay for us now.", internal=wrong.internal)
    if isinstance(wrong, Away):
        return Unsure(wrong.detail, internal=wrong.internal)
    return Declined("Stripe refuses to pay this account.", internal=wrong.internal)
