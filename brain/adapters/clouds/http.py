"""One HTTP client for each adapter: bounded in time and size, and every failure has its class.

The key is in the Authorization header and nowhere else. No word of an answer gets into an error:
a cloud may echo what we sent, a join token included.
"""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from brain.adapters.clouds.buckets import Bucket, take
from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    OutcomeUnknown,
    Throttled,
    Unreadable,
)
from kernel.clock import NS, Clock

USER_AGENT = "ganglion"
_GZIP = 47  # zlib's word for "gzip or zlib, whichever it is"
_CODE = re.compile(r"[A-Za-z]+(?:[ _./-][A-Za-z]+){0,8}\Z")
_SPENT = re.compile(r";\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})\b")
# Nothing was sent, so nothing can have been done.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long, how much, how often. ``total_seconds`` is for one try, body included."""

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    total_seconds: float = 45.0
    answer_bytes_max: int = 8 << 20
    connections_max: int = 16
    tries_max: int = 3  # of a call that may be repeated
    pause_seconds: float = 0.5  # before the first repeat; doubled for the next, with jitter
    pause_seconds_max: float = 10.0
    bucket_seconds_max: float = 10.0  # a caller waits so long for its turn
    throttled_seconds: float = 5.0  # where a 429 does not say how long
    throttled_seconds_max: float = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of any status. ``body`` may hold secrets: it is never shown."""

    cloud: str
    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """What it says, or ``Unreadable``."""
        if self.is_page:
            raise Unreadable(f"{self.cloud} answered {self.status} with a web page, not its API.")
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unreadable(
                f"{self.cloud} answered {self.status} with {len(self.body)} bytes that are no JSON."
            ) from None

    def fields(self) -> dict[str, Any]:
        """What it says where that is an object, or ``Unreadable``."""
        found = self.json()
        if not isinstance(found, dict):
            raise Unreadable(f"{self.cloud} answered {self.status} with another shape than told.")
        return found

    def fields_or_empty(self) -> dict[str, Any]:
        """For error bodies, which have no promised shape."""
        try:
            return self.fields()
        except Unreadable:
            return {}

    @property
    def is_page(self) -> bool:
        """HTML: a proxy, a captive portal or a maintenance page, never the API's own word."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return (
            kind in {"text/html", "application/xhtml+xml"} or self.body[:200].lstrip()[:1] == b"<"
        )


T = TypeVar("T")
Judge = Callable[[Answer], CloudError | None]


# Servers close an idle connection after 5 s or more: an order sent on one that just closes has an
# unknown outcome, and waits until it is proved that it made nothing.
KEPT_SECONDS = 2.0


class Reach(TypedDict):
    """How an account is reached: what each adapter is made with."""

    base_url: str
    key: str
    clock: Clock
    chance: random.Random
    limits: NotRequired[HttpLimits | None]
    transport: NotRequired[httpx.AsyncBaseTransport | None]


class CloudHttp:
    """Calls to one account of one cloud. ``judge`` gives a cloud's own meaning to an answer, and
    None where :func:`error_of` is right; ``usual`` are the limits where ``reach`` has none."""

    def __init__(
        self,
        cloud: str,
        *,
        buckets: Sequence[Bucket] = (),
        judge: Judge | None = None,
        usual: HttpLimits | None = None,
        **reach: Unpack[Reach],
    ) -> None:
        self.cloud = cloud
        self._clock = reach["clock"]
        self._chance = reach["chance"]
        self._buckets = tuple(buckets)
        self._judge = judge or (lambda _: None)
        self._limits = reach.get("limits") or usual or HttpLimits()
        self._client = httpx.AsyncClient(
            base_url=reach["base_url"],
            headers={
                "authorization": f"Bearer {reach['key']}",
                "user-agent": USER_AGENT,
                "accept": "application/json",
                "accept-encoding": "gzip",
            },
            follow_redirects=False,
            timeout=httpx.Timeout(self._limits.read_seconds, connect=self._limits.connect_seconds),
            limits=httpx.Limits(
                max_connections=self._limits.connections_max, keepalive_expiry=KEPT_SECONDS
            ),
            transport=reach.get("transport"),
        )

    def __repr__(self) -> str:
        return f"CloudHttp({self.cloud})"

    async def close(self) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool,
        query: Mapping[str, str | int] | None = None,
        json: object = None,
        buckets: Sequence[Bucket] = (),
        judge: Judge | None = None,
    ) -> Answer:
        """A good answer (2xx, and the judge has no objection), or a ``CloudError``.

        ``repeatable`` only where doing it twice is the same as once: it is then tried again after
        a 429, a 5xx or a cut. ``buckets`` are those of this call, beside the account's own;
        ``judge`` stands in for the account's, where the same answer means something else here.
        """
        content = None if json is None else msgspec.json.encode(json)
        headers = {} if content is None else {"content-type": "application/json"}

        async def once() -> Answer:
            await self._turn(buckets)
            request = self._client.build_request(
                method, path, params=query, content=content, headers=headers
            )
            answer = await self._send(request)
            self._heed(answer)
            if wrong := (judge or self._judge)(answer) or error_of(
                answer, self._limits, self._clock
            ):
                if isinstance(wrong, Throttled):
                    self._close_buckets(wrong.retry_after, buckets)
                raise wrong
            return answer

        return await self._retrying(once) if repeatable else await once()

    @asynccontextmanager
    async def lines(self, path: str, *, seconds_max: float) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a text stream, for as long as it lasts or ``seconds_max``, then no more."""
        await self._turn(())
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        request = self._client.build_request("GET", path, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.RequestError, OSError) as wrong:
            raise self._unreached(wrong) from None
        try:
            if response.status_code != httpx.codes.OK:
                body = await self._read(response)
                answer = Answer(self.cloud, response.status_code, response.headers, body)
                raise (
                    self._judge(answer)
                    or error_of(answer, self._limits, self._clock)
                    or Unreadable(f"{self.cloud} answered {response.status_code} to a stream.")
                )
            yield self._lines(response, seconds_max)
        finally:
            await response.aclose()

    async def _lines(self, response: httpx.Response, seconds_max: float) -> AsyncIterator[str]:
        rest, left = b"", self._limits.answer_bytes_max
        pieces = response.aiter_raw()  # as they come: a chunk size would hold lines back
        ends_ns = self._clock.monotonic_ns() + round(seconds_max * NS)
        while left > 0 and (ends_in := (ends_ns - self._clock.monotonic_ns()) / NS) > 0:
            try:
                piece = await within(ends_in, anext(pieces, b""), self._clock)
            except (httpx.RequestError, OSError):
                return  # what came is kept: a stream that breaks off is a shorter stream
            if not piece:
                return
            left -= len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r").decode(errors="replace")

    async def _turn(self, buckets: Sequence[Bucket]) -> None:
        await take(
            (*self._buckets, *buckets),
            self._clock,
            cloud=self.cloud,
            wait_seconds_max=self._limits.bucket_seconds_max,
        )

    def _heed(self, answer: Answer) -> None:
        """A budget that the cloud says is used up is ours too (the RateLimit header, which tells
        what is left and for how long)."""
        for left, seconds in _SPENT.findall(answer.headers.get("ratelimit", "")[:500]):
            if int(left) == 0:
                wait = min(float(seconds), self._limits.throttled_seconds_max)
                self._close_buckets(wait, ())

    def _close_buckets(self, seconds: float, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets or self._buckets:
            bucket.close_for(seconds)

    async def _retrying(self, once: Callable[[], Any]) -> Answer:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(self._limits.tries_max),
            retry=retry_if_exception(self._is_worth_repeating),
            wait=self._pause,
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                return await once()  # type: ignore[no-any-return]
        raise AssertionError("tenacity returns or raises")

    def _is_worth_repeating(self, wrong: BaseException) -> bool:
        if isinstance(wrong, Throttled):
            return wrong.retry_after <= self._limits.pause_seconds_max
        return isinstance(wrong, OutcomeUnknown)

    def _pause(self, state: RetryCallState) -> float:
        """What a 429 says, or the doubled pause; with jitter, so that callers do not march."""
        wrong = state.outcome.exception() if state.outcome else None
        most = min(
            self._limits.pause_seconds * 2 ** (state.attempt_number - 1),
            self._limits.pause_seconds_max,
        )
        least = wrong.retry_after if isinstance(wrong, Throttled) else most / 2
        return least + self._chance.uniform(0, most / 2)

    async def _send(self, request: httpx.Request) -> Answer:
        try:
            return await within(self._limits.total_seconds, self._exchange(request), self._clock)
        except (httpx.RequestError, httpx.StreamError, OSError) as wrong:
            raise self._unreached(wrong) from None

    async def _exchange(self, request: httpx.Request) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        return Answer(self.cloud, response.status_code, response.headers, body)

    async def _read(self, response: httpx.Response) -> bytes:
        """The body, decoded here so that a small packed answer cannot become a huge one."""
        most = self._limits.answer_bytes_max
        packing = response.headers.get("content-encoding", "identity").strip().lower()
        if packing not in {"identity", "gzip", ""}:
            raise Unreadable(f"{self.cloud} packed its answer in a way that was not asked for.")
        unpack = zlib.decompressobj(_GZIP) if packing == "gzip" else None
        body = bytearray()
        try:
            async for piece in response.aiter_raw():
                room = most - len(body) + 1
                body += unpack.decompress(piece, room) if unpack else piece
                if len(body) > most:
                    raise Unreadable(f"{self.cloud} answered with more than {most} bytes.")
        except zlib.error:
            raise Unreadable(f"{self.cloud} packed its answer wrongly.") from None
        return bytes(body)

    def _unreached(self, wrong: Exception) -> CloudError:
        kind = type(wrong).__name__
        if isinstance(wrong, httpx.DecodingError):
            return Unreadable(f"{self.cloud} sent an answer that cannot be read ({kind}).")
        if isinstance(wrong, _UNSENT):
            return OutcomeUnknown(f"{self.cloud} could not be reached ({kind}).")
        return OutcomeUnknown(f"{self.cloud} gave no whole answer ({kind}).")


async def within(seconds: float, work: Awaitable[T], clock: Clock) -> T:
    """What ``work`` gives, or ``TimeoutError`` when the clock says that it took too long."""
    doing = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((doing, timer), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise TimeoutError
        return doing.result()
    finally:
        doing.cancel()
        timer.cancel()
        await asyncio.gather(doing, timer, return_exceptions=True)


def error_of(answer: Answer, limits: HttpLimits, clock: Clock) -> CloudError | None:
    """What a status means where a cloud does not say more; None for a good one."""
    cloud, status = answer.cloud, answer.status
    if 200 <= status < 300 and not answer.is_page:
        return None
    if status == 429:
        return throttled(answer, limits, clock)
    if status >= 500 or status in {408, 425}:
        return OutcomeUnknown(f"{cloud} answered {status}: it may have been done.")
    if answer.is_page:
        return Unreadable(f"{cloud} answered {status} with a web page, not its API.")
    if status < 400:
        return Unreadable(f"{cloud} answered {status}, a redirect, which is never followed.")
    if status in {401, 403}:
        return CredentialsRefused(f"{cloud} refused the key ({status}).")
    if status == 402:
        return Broke(f"{cloud} says that the account has no balance.")
    if status in {404, 410}:
        # A wrong address has the same status: only a judge that knows the cloud's own words for
        # a missing machine may say that one is missing.
        return Unreadable(f"{cloud} answered {status} in words that are not known.")
    return CloudRefused(f"{cloud} refused the request ({status}).")


def throttled(answer: Answer, limits: HttpLimits, clock: Clock) -> Throttled:
    said = retry_after(answer.headers.get("retry-after", ""), clock.now())
    seconds = min(limits.throttled_seconds if said is None else said, limits.throttled_seconds_max)
    return Throttled(
        f"{answer.cloud} asks for fewer calls; again in {seconds:.0f} s.", retry_after=seconds
    )


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds from the header's two forms, a number or a date; None if it is neither."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds())


def code_of(text: object) -> str:
    """A cloud's own error code, if it has the shape of one; else nothing: it may be an echo."""
    return text if isinstance(text, str) and len(text) <= 100 and _CODE.match(text) else ""
