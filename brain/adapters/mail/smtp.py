"""Mail through an SMTP server, by the standard library, in a thread of its own."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Literal

from brain.notices import Letter, MailRefused

SECONDS_MAX = 15.0
PERMANENT = 500  # replies from here on are for good

Tls = Literal["starttls", "tls", "none"]


@dataclass(frozen=True)
class SmtpTerms:
    host: str
    port: int
    tls: Tls
    user: str
    password: str = field(repr=False)
    sender: str
    name: str


class SmtpMailer:
    """One connection a letter: notices are few."""

    def __init__(self, terms: SmtpTerms, context: ssl.SSLContext | None = None) -> None:
        self._terms = terms
        self._context = context or ssl.create_default_context()

    async def send(self, letter: Letter) -> None:
        await asyncio.to_thread(self._send, message(letter, self._terms))

    def _send(self, made: EmailMessage) -> None:
        terms = self._terms
        try:
            with self._connect() as server:
                if terms.tls == "starttls":
                    server.starttls(context=self._context)
                if terms.user:
                    server.login(terms.user, terms.password)
                server.send_message(made)
        except smtplib.SMTPRecipientsRefused as refused:
            codes = [code for code, _ in refused.recipients.values()]
            if codes and all(code >= PERMANENT for code in codes):
                raise MailRefused(f"the address was refused with {codes[0]}") from None
            raise
        except smtplib.SMTPAuthenticationError:
            raise  # mended by whoever runs this; the letter is kept
        except smtplib.SMTPResponseException as refused:
            if refused.smtp_code >= PERMANENT:
                raise MailRefused(f"refused with {refused.smtp_code}") from None
            raise

    def _connect(self) -> smtplib.SMTP:
        host, port = self._terms.host, self._terms.port
        if self._terms.tls == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=SECONDS_MAX, context=self._context)
        return smtplib.SMTP(host, port, timeout=SECONDS_MAX)


def message(letter: Letter, terms: SmtpTerms) -> EmailMessage:
    """The letter as it goes out. A line break in a header is an error, never a header more."""
    made = EmailMessage()
    try:
        made["From"] = Address(terms.name, addr_spec=terms.sender)
        made["To"] = Address(addr_spec=letter.to)
        made["Subject"] = letter.subject
        made["Message-ID"] = f"<{letter.id}@{terms.sender.rpartition('@')[2]}>"
        made["Auto-Submitted"] = "auto-generated"
    except (ValueError, IndexError) as wrong:
        raise MailRefused(f"no letter can be made of it: {wrong}") from None
    made.set_content(letter.text)
    return made
