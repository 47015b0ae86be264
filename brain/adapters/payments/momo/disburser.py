"""Payouts to mobile wallets: MoMo's disbursements."""

from __future__ import annotations

from brain.adapters.payments.momo.http import (
    Lost,
    MomoAnswer,
    MomoHttp,
    Unsent,
    code_of,
    reference_of,
)
from brain.adapters.payments.momo.words import (
    CURRENCIES,
    OURS,
    REFUSALS,
    Status,
    amount_minor,
    amount_text,
    note,
    said,
    status_of,
)
from brain.payouts import (
    Declined,
    NotNow,
    PaymentSight,
    PayoutOrder,
    Sight,
    Standing,
    Unsure,
)

_SIGHTS = {
    Status.OPEN: PaymentSight.PENDING,
    Status.PAID: PaymentSight.PAID,
    Status.FAILED: PaymentSight.FAILED,
    Status.UNCLEAR: PaymentSight.UNCLEAR,
}


class MomoDisburser:
    """A reference is known there for ever, so that a repeat never pays twice."""

    name = "momo"
    repeat_seconds: int | None = None
    currencies = CURRENCIES

    def __init__(self, http: MomoHttp) -> None:
        self._http = http

    async def pay(self, order: PayoutOrder) -> Sight:
        body = {
            "amount": amount_text(order.amount_minor, order.currency),
            "currency": order.currency,
            "externalId": str(order.id),
            "payee": {"partyIdType": "MSISDN", "partyId": order.address},
            "payerMessage": note(order.description),
            "payeeNote": note(order.description),
        }
        reference = reference_of(order.id)
        try:
            answer = await self._http.post("transfer", body, reference)
        except Unsent as wrong:
            raise NotNow(str(wrong)) from None
        except Lost as wrong:
            raise Unsure(str(wrong)) from None
        return _taken(answer, reference)

    async def look(self, order: PayoutOrder) -> Sight:
        reference = reference_of(order.id)
        try:
            answer = await self._http.get(f"transfer/{reference}")
        except (Unsent, Lost) as wrong:
            raise NotNow(str(wrong)) from None
        if answer.status == 404 and answer.code == "RESOURCE_NOT_FOUND":
            return Sight(PaymentSight.ABSENT)
        if answer.status != 200:
            raise NotNow(f"MoMo answered {answer.status} to a look.", internal=answer.code)
        status = status_of(answer.body.get("status"))
        currency = answer.body.get("currency")
        code = code_of(answer.body.get("reason"))
        return Sight(
            _SIGHTS[status],
            reference=reference,
            reason=said(code) if status is Status.FAILED else "",
            amount_minor=amount_minor(answer.body.get("amount"), currency),
            currency=currency if isinstance(currency, str) else None,
        )

    async def standing(self, address: str) -> Standing:
        """Whether the wallet is there and active."""
        try:
            answer = await self._http.get(f"accountholder/msisdn/{address}/active")
        except (Unsent, Lost) as wrong:
            raise NotNow(str(wrong)) from None
        if answer.status == 404:
            return Standing(False, "there is no wallet with this number")
        result = answer.body.get("result")
        if answer.status != 200 or not isinstance(result, bool):
            raise NotNow(f"MoMo answered {answer.status} to a question about a wallet.")
        return Standing(result, "" if result else "there is no active wallet with this number")

    async def close(self) -> None:
        await self._http.close()


def _taken(answer: MomoAnswer, reference: str) -> Sight:
    """What the answer to a transfer means."""
    if answer.status in (202, 409):  # 409: an earlier try of the same order landed
        return Sight(PaymentSight.PENDING, reference=reference)
    if answer.code in OURS:
        raise NotNow(f"MoMo refuses our own account: {said(answer.code)}.", internal=answer.status)
    if answer.status == 400 or answer.code in REFUSALS:
        raise Declined(said(answer.code), internal=[answer.status, answer.code])
    if answer.status == 404:
        raise NotNow("MoMo does not know this address; look at MOMO_BASE_URL.")
    raise Unsure(f"MoMo answered {answer.status}.", internal=answer.code)
