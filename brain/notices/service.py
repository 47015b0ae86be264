"""Letters: written with the outbox, handed to the mailer by its reconciler."""

from __future__ import annotations

import structlog

from brain.notices.ports import Letter, Mailer, MailRefused
from brain.plumbing import Ctx, Tx, outbox
from brain.plumbing.outbox import Payload
from kernel.ids import WorkId

TOPIC = "mail"
AT_ONCE = 20

_log = structlog.get_logger()


def mail(tx: Tx, ctx: Ctx, to: str, subject: str, text: str) -> WorkId:
    """Send a letter once this transaction has committed. Tried until the server takes it, so
    after a crash it may come twice, with the same Message-ID."""
    payload: Payload = {"to": to, "subject": subject, "text": text}
    return outbox.send(tx, TOPIC, payload, at=ctx.clock.now(), ids=ctx.ids)


async def deliver_mail(ctx: Ctx, mailer: Mailer, *, owner: str) -> int:
    """Hand over what is due. Returns how many. May run any number of times at once."""

    async def deliver(id: WorkId, payload: Payload) -> None:
        letter = Letter(id, payload["to"], payload["subject"], payload["text"])
        try:
            await mailer.send(letter)
        except MailRefused as refused:
            _log.error("mail_refused", id=id, reason=str(refused)[:200])

    return await outbox.deliver_due(ctx, {TOPIC: deliver}, owner=owner, limit=AT_ONCE)
