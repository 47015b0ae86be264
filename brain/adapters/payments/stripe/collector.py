"""Takes money by saved cards (PaymentIntent) and by Stripe's page (Checkout), and gives it back.

A saved card is charged in one call. A bank that wants to see its owner leaves the payment open:
that is told as NEEDS_PAYER, with the client secret and, where Stripe has one, an address.
"""

from __future__ import annotations

from typing import Any

import stripe

from brain.adapters.payments.stripe.api import (
    ASKS_FOR_PAYER,
    Api,
    is_hard,
    payment_in,
    translated,
)
from brain.payments import (
    Away,
    Begun,
    Order,
    PaymentRefused,
    PaymentState,
    Refunder,
    RefundOrder,
    RefundSeen,
    Reversal,
    ReversalKind,
    Seen,
)

SESSION = "cs_"
LIST_MAX = 100
PAGES_MAX = 20
SKEW_SECONDS = 600
EXPANDED = "latest_charge.balance_transaction"
TAKEN_BACK = frozenset({"needs_response", "under_review", "lost"})
OVER = frozenset({"won", "lost", "warning_closed", "prevented"})


class StripeCollector(Refunder):
    name = "stripe"

    def __init__(self, api: Api) -> None:
        self._api = api

    async def begin(self, order: Order) -> Begun:
        if order.payer is None:
            return await self._page(order)
        return await self._card(order)

    async def _page(self, order: Order) -> Begun:
        back = order.return_url or ""
        price = {
            "currency": order.currency.lower(),
            "unit_amount": order.amount_minor,
            "product_data": {"name": order.description},
        }
        asked: Any = {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "client_reference_id": str(order.id),
            "metadata": _marks(order),
            "payment_intent_data": {"metadata": _marks(order), "description": order.description},
            "success_url": f"{back}?topup={order.id}&paid=1",
            "cancel_url": f"{back}?topup={order.id}",
        }
        if order.customer is not None:
            asked["customer"] = order.customer
        made = await self._api.ask(
            self._api.client.v1.checkout.sessions.create_async(asked, _once(order.id))
        )
        return Begun(made.id, PaymentState.NEEDS_PAYER, url=made.url)

    async def _card(self, order: Order) -> Begun:
        asked: Any = {
            "amount": order.amount_minor,
            "currency": order.currency.lower(),
            "payment_method": order.payer,
            "payment_method_types": ["card"],
            "confirm": True,
            "description": order.description,
            "metadata": _marks(order),
        }
        if order.customer is not None:
            asked["customer"] = order.customer
        if order.off_session:
            asked["off_session"] = True
        elif order.return_url is not None:
            asked["return_url"] = f"{order.return_url}?topup={order.id}"
        try:
            made = await self._api.client.v1.payment_intents.create_async(asked, _once(order.id))
        except stripe.CardError as refused:
            made = payment_in(refused)
            if made is None:
                raise translated(refused) from refused
        except stripe.StripeError as error:
            raise translated(error) from error
        state, _ = _state_of(made)
        return Begun(made.id, state, url=_address(made), client_secret=made.client_secret)

    async def find(self, order: Order) -> str | None:
        """Among what was begun for its customer since the order was written."""
        client = self._api.client.v1
        born = order.id.uuid.int >> 80  # milliseconds, as the id itself has them
        wanted: Any = {"limit": LIST_MAX, "created": {"gte": born // 1000 - SKEW_SECONDS}}
        if order.customer is not None:
            wanted["customer"] = order.customer
        for _ in range(PAGES_MAX):
            if order.payer is None:
                page: Any = await self._api.ask(client.checkout.sessions.list_async(wanted))
            else:
                page = await self._api.ask(client.payment_intents.list_async(wanted))
            for one in page.data:
                if getattr(one.metadata, "topup", None) == str(order.id):
                    return str(one.id)
            if not page.has_more:
                return None
            wanted["starting_after"] = page.data[-1].id
        raise Away("Stripe lists too many payments of this customer.")

    async def look(self, reference: str) -> Seen:
        """Raises ``Away`` too when Stripe does not know the reference: it never forgets one."""
        if not reference.startswith(SESSION):
            return await self._payment(reference)
        session = await self._api.ask(
            self._api.client.v1.checkout.sessions.retrieve_async(reference)
        )
        payment = _id(session.payment_intent)
        if session.status == "complete" and payment is not None:
            return await self._payment(payment)
        state = PaymentState.NEEDS_PAYER if session.status == "open" else PaymentState.FAILED
        if session.status == "complete":
            state = PaymentState.PENDING
        return Seen(
            state=state,
            amount_minor=session.amount_total or 0,
            currency=(session.currency or "").upper(),
            reason=None if state is not PaymentState.FAILED else "The page was left unpaid.",
            payment=payment,
            url=session.url,
        )

    async def _payment(self, payment: str) -> Seen:
        intent = await self._api.ask(
            self._api.client.v1.payment_intents.retrieve_async(payment, {"expand": [EXPANDED]})
        )
        state, code = _state_of(intent)
        error = intent.last_payment_error
        charge: Any = intent.latest_charge
        paid = state is PaymentState.SUCCEEDED
        reversals = await self._reversals(payment) if paid else ()
        return Seen(
            state=state,
            amount_minor=intent.amount_received if paid else intent.amount,
            currency=intent.currency.upper(),
            reason=None if paid else getattr(error, "message", None),
            refunded_minor=getattr(charge, "amount_refunded", 0) or 0,
            disputed=bool(getattr(charge, "disputed", False)),
            retry_allowed=not is_hard(code),
            reversals=reversals,
            payment=payment,
            fee_minor=_fee_of(charge) if paid else None,
            url=_address(intent),
            client_secret=None if paid else intent.client_secret,
        )

    async def _reversals(self, payment: str) -> tuple[Reversal, ...]:
        client = self._api.client.v1
        wanted: Any = {"payment_intent": payment, "limit": LIST_MAX}
        refunds = await self._api.ask(client.refunds.list_async(wanted))
        disputes = await self._api.ask(client.disputes.list_async(wanted))
        return (*map(_refunded, refunds.data), *map(_disputed, disputes.data))

    async def cancel(self, reference: str) -> None:
        client = self._api.client.v1
        try:
            if reference.startswith(SESSION):
                await self._api.ask(client.checkout.sessions.expire_async(reference))
            else:
                await self._api.ask(client.payment_intents.cancel_async(reference))
        except PaymentRefused:
            return  # it is paid or over: a look tells which

    async def refund(self, refund: RefundOrder) -> RefundSeen:
        payment = refund.reference
        if payment.startswith(SESSION):
            payment = (await self.look(payment)).payment or payment
        asked: Any = {
            "payment_intent": payment,
            "amount": refund.amount_minor,
            "reason": "requested_by_customer",
            "metadata": {"refund": str(refund.id)},
        }
        made = await self._api.ask(
            self._api.client.v1.refunds.create_async(asked, _once(refund.id))
        )
        states = {"succeeded": PaymentState.SUCCEEDED, "failed": PaymentState.FAILED}
        states["canceled"] = PaymentState.FAILED
        state = states.get(made.status or "", PaymentState.PENDING)
        return RefundSeen(made.id, state, getattr(made, "failure_reason", None))


def _marks(order: Order) -> dict[str, str]:
    return {"topup": str(order.id), "account": str(order.account)}


def _once(id: str) -> Any:
    return {"idempotency_key": str(id)}


def _id(given: Any) -> str | None:
    """An object or its id, as Stripe gives either."""
    if given is None or isinstance(given, str):
        return given
    return str(given.id)


def _state_of(intent: Any) -> tuple[PaymentState, str | None]:
    """Where the payment stands, and why its last try was refused."""
    error = intent.last_payment_error
    code = None
    if error is not None:
        code = getattr(error, "decline_code", None) or getattr(error, "code", None)
    if intent.status == "succeeded":
        return PaymentState.SUCCEEDED, None
    if intent.status == "processing":
        return PaymentState.PENDING, code
    if intent.status == "requires_action":
        return PaymentState.NEEDS_PAYER, code
    if intent.status == "requires_payment_method" and code == ASKS_FOR_PAYER:
        return PaymentState.NEEDS_PAYER, code
    if intent.status in {"requires_payment_method", "canceled"} and (
        error is not None or intent.status == "canceled"
    ):
        return PaymentState.FAILED, code
    return PaymentState.NEEDS_PAYER, code


def _address(intent: Any) -> str | None:
    """Where the bank asks its card's owner, if Stripe gave an address."""
    action = intent.next_action
    redirect = None if action is None else getattr(action, "redirect_to_url", None)
    return None if redirect is None else redirect.url


def _fee_of(charge: Any) -> int | None:
    line = None if charge is None or isinstance(charge, str) else charge.balance_transaction
    return None if line is None or isinstance(line, str) else int(line.fee)


def _refunded(refund: Any) -> Reversal:
    return Reversal(
        reference=refund.id,
        kind=ReversalKind.REFUND,
        amount_minor=refund.amount,
        stands=refund.status not in {"failed", "canceled"},
        refund_id=getattr(refund.metadata, "refund", None),
        settled=refund.status in {"succeeded", "failed", "canceled"},
        reason=f"refund {refund.status}",
    )


def _disputed(dispute: Any) -> Reversal:
    """Money left us for as long as the dispute's own lines say so."""
    lines = list(dispute.balance_transactions or [])
    moved = sum(line.amount for line in lines)
    stands = moved < 0 if lines else dispute.status in TAKEN_BACK
    return Reversal(
        reference=dispute.id,
        kind=ReversalKind.DISPUTE,
        amount_minor=dispute.amount,
        stands=stands,
        fee_minor=sum(line.fee for line in lines),
        settled=dispute.status in OVER,
        reason=f"dispute ({dispute.reason}): {dispute.status}",
    )
