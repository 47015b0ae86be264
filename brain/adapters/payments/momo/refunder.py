"""Money of top-ups that goes back to a phone: MoMo's disbursements have a call for it.

A request to pay does not tell of its refunds: each is looked at by its own reference.
"""

from __future__ import annotations

from brain.adapters.payments.momo.http import (
    KeyRefused,
    Lost,
    MomoAnswer,
    MomoHttp,
    Unsent,
    code_of,
    reference_of,
)
from brain.adapters.payments.momo.words import (
    OURS,
    REFUSALS,
    Status,
    amount_text,
    note,
    said,
    status_of,
)
from brain.payments import (
    Away,
    CredentialsRefused,
    PaymentRefused,
    PaymentState,
    RefundOrder,
    RefundSeen,
)

AWAY = "Mobile money does not answer."
_STATES = {
    Status.OPEN: PaymentState.PENDING,
    Status.PAID: PaymentState.SUCCEEDED,
    Status.FAILED: PaymentState.FAILED,
    Status.UNCLEAR: PaymentState.PENDING,
}


class MomoRefunder:
    """A reference is known there for ever, so that a repeat never gives back twice."""

    def __init__(self, http: MomoHttp) -> None:
        self._http = http

    async def refund(self, refund: RefundOrder) -> RefundSeen:
        body = {
            "amount": amount_text(refund.amount_minor, refund.currency),
            "currency": refund.currency,
            "externalId": str(refund.id),
            "payerMessage": note(refund.reason),
            "payeeNote": note(refund.reason),
            "referenceIdToRefund": refund.reference,
        }
        reference = reference_of(refund.id)
        try:
            answer = await self._http.post("refund", body, reference)
        except KeyRefused as wrong:
            raise CredentialsRefused("Mobile money is not set up.", internal=str(wrong)) from None
        except (Unsent, Lost) as wrong:
            raise Away(AWAY, internal=str(wrong)) from None
        if answer.status in (202, 409):  # 409: an earlier try of the same refund landed
            return RefundSeen(reference, PaymentState.PENDING)
        internal = [answer.status, answer.code]
        if answer.code not in OURS and (answer.status == 400 or answer.code in REFUSALS):
            raise PaymentRefused(f"{said(answer.code).capitalize()}.", internal=internal)
        raise Away(AWAY, internal=internal)

    async def refund_seen(self, refund: RefundOrder) -> RefundSeen | None:
        reference = reference_of(refund.id)
        try:
            answer = await self._http.get(f"refund/{reference}")
        except KeyRefused as wrong:
            raise CredentialsRefused("Mobile money is not set up.", internal=str(wrong)) from None
        except (Unsent, Lost) as wrong:
            raise Away(AWAY, internal=str(wrong)) from None
        return _read(answer, reference)

    async def close(self) -> None:
        await self._http.close()


def _read(answer: MomoAnswer, reference: str) -> RefundSeen | None:
    if answer.status == 404 and answer.code == "RESOURCE_NOT_FOUND":
        return None
    if answer.status != 200:
        raise Away(AWAY, internal=[answer.status, answer.code])
    status = status_of(answer.body.get("status"))
    why = code_of(answer.body.get("reason"))
    reason = f"{said(why).capitalize()}." if status is Status.FAILED else None
    return RefundSeen(reference, _STATES[status], reason)
