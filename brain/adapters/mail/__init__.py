"""Mail to people: through an SMTP server, or into the log where none is set."""

from brain.adapters.mail.settings import MailSettings

__all__ = ["MailSettings"]
