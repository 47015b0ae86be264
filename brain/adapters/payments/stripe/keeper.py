"""Customers and their saved cards. A card is added at Stripe, by its owner: never through us."""

from __future__ import annotations

from typing import Any

from brain.adapters.payments.stripe.api import Api
from brain.payments import Card, CardKeeper, CardSetup, PaymentRefused
from kernel.ids import AccountId

CARDS_MAX = 100


class StripeKeeper(CardKeeper):
    def __init__(self, api: Api) -> None:
        self._api = api

    async def customer(self, account: AccountId) -> str:
        asked: Any = {"metadata": {"account": str(account)}}
        once: Any = {"idempotency_key": f"customer/{account}"}
        made = await self._api.ask(self._api.client.v1.customers.create_async(asked, once))
        return made.id

    async def setup(self, customer: str, *, key: str, return_url: str | None) -> CardSetup:
        once: Any = {"idempotency_key": key}
        if return_url is not None:
            page: Any = {
                "mode": "setup",
                "customer": customer,
                "currency": "usd",
                "success_url": f"{return_url}?card=1",
                "cancel_url": return_url,
            }
            session = await self._api.ask(
                self._api.client.v1.checkout.sessions.create_async(page, once)
            )
            return CardSetup(session.id, url=session.url)
        asked: Any = {
            "customer": customer,
            "usage": "off_session",
            "payment_method_types": ["card"],
        }
        made = await self._api.ask(self._api.client.v1.setup_intents.create_async(asked, once))
        return CardSetup(made.id, client_secret=made.client_secret)

    async def cards(self, customer: str) -> list[Card]:
        client = self._api.client.v1
        wanted: Any = {"type": "card", "limit": CARDS_MAX}
        found = await self._api.ask(client.customers.payment_methods.list_async(customer, wanted))
        owner = await self._api.ask(client.customers.retrieve_async(customer))
        default = _default_of(owner)
        cards = [_card(method, default) for method in found.data]
        if len(cards) == 1 and default is None:
            return [_card(found.data[0], cards[0].reference)]
        return cards

    async def remove(self, customer: str, card: str) -> None:
        await self._own(customer, card)
        await self._api.ask(self._api.client.v1.payment_methods.detach_async(card))

    async def make_default(self, customer: str, card: str) -> None:
        await self._own(customer, card)
        asked: Any = {"invoice_settings": {"default_payment_method": card}}
        await self._api.ask(self._api.client.v1.customers.update_async(customer, asked))

    async def _own(self, customer: str, card: str) -> None:
        """Another's card is as if it were not there."""
        if card not in {one.reference for one in await self.cards(customer)}:
            raise PaymentRefused("You have no such card.")


def _default_of(owner: Any) -> str | None:
    settings = getattr(owner, "invoice_settings", None)
    default = None if settings is None else settings.default_payment_method
    return default if default is None or isinstance(default, str) else str(default.id)


def _card(method: Any, default: str | None) -> Card:
    card = method.card
    return Card(
        reference=method.id,
        brand=card.brand,
        last4=card.last4,
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        default=method.id == default,
    )
