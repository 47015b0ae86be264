"""Access tokens: JWT, HS256 and nothing else, with time taken from the injected clock."""

from __future__ import annotations

from dataclasses import dataclass

import jwt

from kernel.clock import NS, Clock
from kernel.errors import BadInput, Unauthenticated
from kernel.ids import UserId

ALGORITHM = "HS256"
ISSUER = "ganglion"
# The gap that clocks of two brain processes may have.
SKEW_SECONDS = 5
LENGTH_MAX = 4096


@dataclass(frozen=True)
class AccessToken:
    text: str
    expires_in: int


class Tokens:
    """Makes and reads access tokens."""

    def __init__(self, secret: str, clock: Clock, *, lasts_seconds: int) -> None:
        assert len(secret.encode()) >= 64, "settings refuse shorter secrets"
        self._secret = secret
        self._clock = clock
        self._lasts = lasts_seconds

    def issue(self, user_id: UserId) -> AccessToken:
        now = self._clock.now_ns() // NS
        claims = {"iss": ISSUER, "sub": str(user_id), "iat": now, "exp": now + self._lasts}
        text = jwt.encode(claims, self._secret, algorithm=ALGORITHM)
        return AccessToken(text=text, expires_in=self._lasts)

    def read(self, text: str) -> UserId:
        """The user of a good token; ``Unauthenticated`` for any other text."""
        if len(text) > LENGTH_MAX:
            raise _bad()
        try:
            claims = jwt.decode(
                text,
                self._secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={
                    "require": ["sub", "iat", "exp", "iss"],
                    # Times are judged below, by the injected clock.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            user_id = UserId.parse(claims["sub"])
            issued, expires = int(claims["iat"]), int(claims["exp"])
        except (jwt.PyJWTError, BadInput, ValueError, TypeError, RecursionError) as error:
            raise _bad() from error
        now = self._clock.now_ns() // NS
        if now >= expires:
            raise Unauthenticated(
                "The access token has expired; log in with POST /auth/login.",
                code="token_expired",
            )
        if issued > now + SKEW_SECONDS:
            raise _bad()
        return user_id


def _bad() -> Unauthenticated:
    return Unauthenticated(
        "The access token is not valid; log in with POST /auth/login.", code="token_invalid"
    )
