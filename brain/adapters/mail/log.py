"""Mail of an installation without an SMTP server: told in the log, sent to nobody."""

from __future__ import annotations

import structlog

from brain.notices import Letter

_log = structlog.get_logger()


class LogMailer:
    """For development; production is told at each letter that it reaches nobody."""

    async def send(self, letter: Letter) -> None:
        _log.info("mail_not_sent", id=letter.id, to=letter.to, subject=letter.subject)
