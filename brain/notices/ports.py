"""What notices ask of the outside: one letter to one address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class MailRefused(Exception):
    """The server will never take this letter: it is given up, and logged."""


@dataclass(frozen=True)
class Letter:
    """``id`` names it to the server, so that one sent twice can be told."""

    id: str
    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """Hands a letter to a server. Returns once it was taken; raises ``MailRefused`` when it never
    will be, and anything else when it may be tried again. Bounded in time."""

    async def send(self, letter: Letter) -> None: ...
