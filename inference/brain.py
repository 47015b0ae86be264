"""The gateway's doors to the brain: hello, slices, usage, and the stream of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import quote

import msgspec

from inference import http
from kernel.errors import Conflict, GanglionError, OutOfCredit, Unavailable
from kernel.hosts import is_local
from kernel.wire import encode
from kernel.wire.gateway import (
    ChangeLine,
    Hello,
    HelloAnswer,
    LoadAnswer,
    LoadReport,
    SliceAnswer,
    SliceRequest,
    UsageAnswer,
    UsageBatch,
)
from kernel.wire.limits import LimitsAnswer, LimitsRequest
from kernel.wire.replays import Claim, ClaimAnswer, Settle, Settled

T = TypeVar("T")

CALL_SECONDS_MAX = 10
SILENCE_SECONDS_MAX = 45  # the brain says something (a beat, a digest) more often than this


class Brain:
    """Each call raises ``Unavailable`` when the brain is away or answers nonsense."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self.is_local = is_local(url)
        self._headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
        }

    async def hello(self, message: Hello) -> HelloAnswer:
        return await self._post("/internal/gateway/hello", message, HelloAnswer)

    async def slice(self, message: SliceRequest) -> SliceAnswer:
        """May be repeated with the same slice id. Raises ``OutOfCredit`` on a refusal."""
        return await self._post("/internal/gateway/slices", message, SliceAnswer)

    async def limits(self, message: LimitsRequest) -> LimitsAnswer:
        """Leases of rate limits."""
        return await self._post("/internal/gateway/limits", message, LimitsAnswer)

    async def usage(self, message: UsageBatch) -> UsageAnswer:
        """May be repeated; returns when the brain has committed.

        Raises ``Conflict`` when the brain does not know this boot: say hello (again) first.
        """
        return await self._post("/internal/gateway/usage", message, UsageAnswer)

    async def claim(self, message: Claim) -> ClaimAnswer:
        """May be repeated, and may take as long as it is told to wait."""
        return await self._post("/internal/gateway/replays/claim", message, ClaimAnswer)

    async def settle(self, message: Settle) -> Settled:
        """May be repeated."""
        return await self._post("/internal/gateway/replays/settle", message, Settled)

    async def load(self, message: LoadReport) -> LoadAnswer:
        """May be repeated, and may be lost: the next one says it all."""
        return await self._post("/internal/gateway/load", message, LoadAnswer)

    async def changes(
        self, boot_id: str, link_url: str = "", want: str = ""
    ) -> AsyncIterator[ChangeLine]:
        """A whole snapshot, then what changes, for as long as the connection stands.

        For as long, too, agents are told to open links to ``link_url``. ``want`` is ``pods`` for
        a stream of pods alone; empty: all that a gateway needs.
        """
        path = f"/internal/changes?boot_id={boot_id}&link_url={quote(link_url, safe='')}"
        if want:
            path += f"&want={want}"
        try:
            async for line in http.lines(
                self._url, path, headers=self._headers, silence_seconds_max=SILENCE_SECONDS_MAX
            ):
                if line.strip():
                    yield msgspec.json.decode(line, type=ChangeLine)
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            raise _away(error) from error

    async def _post(self, path: str, message: object, kind: type[T]) -> T:
        try:
            status, content = await http.call(
                self._url,
                "POST",
                path,
                body=encode(message),
                headers=self._headers,
                seconds_max=CALL_SECONDS_MAX,
            )
            if status == OutOfCredit.status:
                raise OutOfCredit("The account is out of credit.")
            if status == Conflict.status:
                raise Conflict("The brain does not know this gateway boot.", internal=content)
            if status != 200:
                raise _away(f"{path} answered {status}: {content[:300]!r}")
            return msgspec.json.decode(content, type=kind)
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            raise _away(error) from error


def _away(error: object) -> GanglionError:
    return Unavailable("The brain cannot be reached.", internal=repr(error), retry_after=1)
