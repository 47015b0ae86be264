"""Who speaks, and whether they still may: looked at again for every part of every turn."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from inference import admission
from inference.gateway import Gateway
from inference.realtime.sound import Room
from kernel.errors import GanglionError, NoCapacity, OutOfCredit, Unauthenticated, Unavailable
from kernel.wire.gateway import KeyRow


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that opened a session."""

    gateway: Gateway
    opened_with: KeyRow
    room: Room  # for sound, shared with all others

    def key(self) -> KeyRow:
        """The key as it is now. Raises ``Unauthenticated``, ``OutOfCredit`` or ``Unavailable``."""
        gateway = self.gateway
        if gateway.stale:
            raise Unavailable("The gateway has lost touch; try again later.", retry_after=30)
        key = gateway.tables.keys.get(self.opened_with.digest)
        if key is None:
            raise Unauthenticated("This API key was revoked.", code="invalid_api_key")
        if key.expires_at_ns and gateway.wall_ns >= key.expires_at_ns:
            raise Unauthenticated("This API key has expired.", code="expired_api_key")
        admission.account_of(gateway.tables, key)
        return key

    def may_use(self, model: str) -> None:
        """Raises ``NotFound`` for a model that this key cannot name. One without a ready replica
        may have one when it is needed."""
        with suppress(NoCapacity):
            admission.resolve(self.gateway.tables, self.key(), model)

    def barred(self) -> GanglionError | None:
        """Why the session must end, if it must: the key or the money is gone."""
        try:
            self.key()
        except (Unauthenticated, OutOfCredit) as error:
            return error
        except Unavailable:
            return None
        return None
