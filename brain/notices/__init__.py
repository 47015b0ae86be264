"""Notices to people: asked for in the transaction that gives the reason, mailed by the outbox."""

from brain.notices.ports import Letter, Mailer, MailRefused
from brain.notices.service import deliver_mail, mail

__all__ = ["Letter", "MailRefused", "Mailer", "deliver_mail", "mail"]
