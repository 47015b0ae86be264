"""Top-ups by mobile money: MoMo's requests to pay. The poll is the truth, a callback a hint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from brain.adapters.payments.momo.http import (
    KeyRefused,
    Lost,
    MomoHttp,
    Unsent,
    code_of,
    reference_of,
)
from brain.adapters.payments.momo.words import (
    HARD,
    REFUSALS,
    Status,
    amount_minor,
    amount_text,
    note,
    said,
    status_of,
)
from brain.payments import (
    Away,
    Begun,
    CredentialsRefused,
    Hint,
    Order,
    PayerRefused,
    PaymentRefused,
    PaymentState,
    Seen,
)

CALLBACK_BYTES_MAX = 16 << 10
_STATES = {
    # Somebody must act on the phone; until then it is open.
    Status.OPEN: PaymentState.PENDING,
    Status.PAID: PaymentState.SUCCEEDED,
    Status.FAILED: PaymentState.FAILED,
    Status.UNCLEAR: PaymentState.PENDING,
}


class MomoCollector:
    """``callback``: where MoMo may tell of the end, on the host that is registered there."""

    name = "momo"

    def __init__(self, http: MomoHttp, callback: str | None = None) -> None:
        self._http = http
        self._callback = callback

    async def begin(self, order: Order) -> Begun:
        payer = (order.payer or "").removeprefix("+")
        if not payer.isdigit():
            raise PaymentRefused("Say the number of the wallet that pays, with its country code.")
        reference = reference_of(order.id)
        body = {
            "amount": amount_text(order.amount_minor, order.currency),
            "currency": order.currency,
            "externalId": str(order.id),
            "payer": {"partyIdType": "MSISDN", "partyId": payer},
            "payerMessage": note(order.description),
            "payeeNote": note(order.description),
        }
        try:
            answer = await self._http.post("requesttopay", body, reference, self._callback)
        except KeyRefused as wrong:
            raise CredentialsRefused("Mobile money is not set up.", internal=str(wrong)) from None
        except (Unsent, Lost) as wrong:
            raise Away("Mobile money does not answer.", internal=str(wrong)) from None
        if answer.status in (202, 409):  # 409: an earlier try of the same order landed
            return Begun(reference, PaymentState.PENDING)
        internal = [answer.status, answer.code]
        if answer.code in HARD:
            hard = PayerRefused(
                _sentence(answer.code), code=answer.code.lower(), hard=True, internal=internal
            )
            raise hard
        if answer.status == 400 or answer.code in REFUSALS:
            raise PaymentRefused(_sentence(answer.code), internal=internal)
        raise Away("Mobile money does not answer.", internal=internal)

    async def look(self, reference: str) -> Seen:
        try:
            answer = await self._http.get(f"requesttopay/{reference}")
        except KeyRefused as wrong:
            raise CredentialsRefused("Mobile money is not set up.", internal=str(wrong)) from None
        except (Unsent, Lost) as wrong:
            raise Away("Mobile money does not answer.", internal=str(wrong)) from None
        if answer.status == 404 and answer.code == "RESOURCE_NOT_FOUND":
            return Seen(PaymentState.UNKNOWN, 0, "")
        currency = answer.body.get("currency")
        minor = amount_minor(answer.body.get("amount"), currency)
        if answer.status != 200 or minor is None or not isinstance(currency, str):
            internal = [answer.status, answer.code]
            raise Away("Mobile money does not answer in its usual words.", internal=internal)
        status = status_of(answer.body.get("status"))
        code = code_of(answer.body.get("reason"))
        return Seen(
            _STATES[status],
            minor,
            currency,
            reason=_sentence(code) if status is Status.FAILED else None,
            retry_allowed=code not in HARD,
            fee_minor=0,
        )

    async def close(self) -> None:
        await self._http.close()


class MomoHints:
    """Callbacks bear no signature: what they say is not believed, only that there is something to
    look at. Sent once and never again, or not at all."""

    name = "momo"

    def read(self, headers: Mapping[str, str], body: bytes) -> Hint | None:
        """None for what does not name an order of ours."""
        if len(body) > CALLBACK_BYTES_MAX:
            return None
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        order = found.get("externalId") if isinstance(found, dict) else None
        if not isinstance(order, str) or not order.startswith("topup_") or len(order) > 60:
            return None
        status = found.get("status")
        kind = status if isinstance(status, str) and status.isalpha() else "callback"
        event = hashlib.sha256(body).hexdigest()
        return Hint(event, kind[:40].lower(), reference_of(order), order)


def _sentence(code: str) -> str:
    told = said(code)
    return told[0].upper() + told[1:] + "."
