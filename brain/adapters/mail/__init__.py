"""Mail to people: through an SMTP server, or into the log where none is set."""

from brain.adapters.mail.log import LogMailer
from brain.adapters.mail.settings import MailSettings
from brain.adapters.mail.smtp import SmtpMailer, SmtpTerms
from brain.notices import Mailer

__all__ = ["LogMailer", "MailSettings", "SmtpMailer", "SmtpTerms", "open_mailer"]


def open_mailer(settings: MailSettings) -> Mailer:
    """What the settings ask for."""
    if not settings.smtp_host:
        return LogMailer()
    password = settings.smtp_password
    return SmtpMailer(
        SmtpTerms(
            host=settings.smtp_host,
            port=settings.smtp_port,
            tls=settings.smtp_tls,
            user=settings.smtp_user,
            password="" if password is None else password.get_secret_value(),
            sender=settings.mail_from or f"ganglion@{settings.smtp_host}",
            name=settings.seller_name,
        )
    )
