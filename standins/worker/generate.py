"""Runs one job at the engine's pace: admission, tokens in time, streams, aborts, faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from kernel.clock import NS, Clock
from standins.worker.faults import FaultKind
from standins.worker.jobs import Body, Frame, Job
from standins.worker.metrics import Abort, Book, Timing
from standins.worker.options import OnStop, Options
from standins.worker.refusals import Refusal, engine_gone, queue_full
from standins.worker.server import Exchange

DONE = b"data: [DONE]\n\n"


class Aborted(Exception):
    """The engine gave the request up: its answer ends here, with ``finish_reason`` "abort"."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How one route's job is rendered."""

    whole: Callable[[Job], Body]
    frames: Callable[[Job], Iterator[Frame]]


class Engine:
    """The part that takes time. ``stop`` ends all that runs, as a killed engine core does."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.book = Book(options.model, options.max_num_seqs)
        self._options = options
        self._clock = clock
        self._seats = asyncio.Semaphore(options.max_num_seqs)
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hung = False
        self._aborts = False

    def stop(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def stop_as(self, how: OnStop) -> None:
        """End what runs in one of the ways that vLLM was seen to end it."""
        self._hung = how == OnStop.HANG
        self._aborts = how == OnStop.ABORT
        if not self._hung:
            self.stop()

    async def until_idle(self, seconds: float | None) -> None:
        """Wait for what runs, at most so long (None: for ever)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def wait(self, seconds: float) -> None:
        """Let time pass; raises ``Refusal`` or ``Aborted`` when the engine stops meanwhile."""
        if self._hung:
            await asyncio.shield(self._stopped)
        if seconds > 0:
            await asyncio.wait({self._stopped}, timeout=seconds)
        if self._stopped.done():
            raise Aborted if self._aborts else engine_gone()

    async def run(self, exchange: Exchange, job: Job, speech: Speech) -> None:
        """Answer a text request; a hang-up is written in the book and cancels it."""
        arrived_ns = self._clock.monotonic_ns()
        pace: _Pace | None = None
        try:
            async with self.seat(lambda: self._open(exchange, job)):
                self.book.prompt_tokens += job.prompt_tokens
                pace = _Pace(self, self._options, self._clock, len(job.choices))
                await self._answer(exchange, job, speech, pace)
                reasons = tuple(choice.answer.finish_reason for choice in job.choices)
                self.book.finish(pace.timing(arrived_ns), pace.made, reasons)
        except Refusal as refusal:
            if not (job.stream and exchange.begun):
                raise
            await exchange.send(_event(refusal.body()))  # too late for a status
            await _end(exchange)
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self.note_abort(exchange, job.identity, pace.made if pace else 0)
            raise

    async def _open(self, exchange: Exchange, job: Job) -> None:
        """A stream's head goes out before its request gets a seat, as vLLM does it."""
        await self.be_late(exchange)
        if job.stream:
            await exchange.begin(200, "text/event-stream; charset=utf-8")

    async def be_late(self, exchange: Exchange) -> None:
        if exchange.fault and exchange.fault.fault == FaultKind.LATE:
            await self.wait(exchange.fault.seconds)

    async def _answer(self, exchange: Exchange, job: Job, speech: Speech, pace: _Pace) -> None:
        frames = _faulty(speech.frames(job), exchange, pace)
        if job.stream:
            await _stream(exchange, frames)
            return
        try:
            async for _ in frames:
                pass
        except Aborted:
            job = job.aborted(pace.made // len(job.choices))
        await exchange.answer(200, encoded(speech.whole(job)))

    def note_abort(self, exchange: Exchange, identity: str, tokens: int) -> None:
        """For an exchange that broke off; that we ended it ourselves is no abort."""
        if not exchange.gone:
            return
        now_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        path = exchange.request.path
        self.book.abort(Abort(identity, path, now_ns, monotonic_ns, tokens))

    @asynccontextmanager
    async def seat(self, opening: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """A place in the running batch; ``opening`` is done while it waits for one.

        Raises ``Refusal`` when too many wait already.
        """
        book, bound = self.book, self._options.max_num_queued_reqs
        if bound and self._seats.locked() and book.waiting >= bound:
            book.rejected += 1
            raise queue_full()
        book.started += 1
        book.waiting += 1
        self._idle.clear()
        try:
            await opening()
            await self._seats.acquire()
        finally:
            book.waiting -= 1
            self._rest()
        book.running += 1
        self._idle.clear()
        try:
            await self.wait(0)
            yield
        finally:
            book.running -= 1
            self._seats.release()
            self._rest()

    def _rest(self) -> None:
        if self.book.running == 0 and self.book.waiting == 0:
            self._idle.set()


class _Pace:
    """When each token is due, counted from the start so that no error adds up."""

    def __init__(self, engine: Engine, options: Options, clock: Clock, choices: int) -> None:
        self.made = 0
        self.first_ns = 0
        self._engine = engine
        self._clock = clock
        self._choices = choices
        rate = options.tokens_per_second
        self._token_ns = NS / rate if rate > 0 else 0.0
        self._start_ns = clock.monotonic_ns()
        self._wait_ns = options.first_token_ms * 1_000_000

    async def next(self, tokens: int) -> None:
        step = self.made // self._choices
        due_ns = self._start_ns + self._wait_ns + step * self._token_ns
        await self._engine.wait((due_ns - self._clock.monotonic_ns()) / NS)
        self.made += tokens
        self._engine.book.generation_tokens += tokens
        if tokens and not self.first_ns:
            self.first_ns = self._clock.monotonic_ns()

    def timing(self, arrived_ns: int) -> Timing:
        now_ns = self._clock.monotonic_ns()
        return Timing(arrived_ns, self._start_ns, self.first_ns or now_ns, now_ns)


def encoded(payload: object) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


async def _faulty(frames: Iterator[Frame], exchange: Exchange, pace: _Pace) -> AsyncIterator[Frame]:
    """The frames in their time, as a fault of the stream's content leaves them."""
    fault = exchange.fault
    for frame in frames:
        await pace.next(frame.tokens)
        if fault and fault.fault == FaultKind.ERROR_THEN_DONE and pace.made > fault.after_tokens:
            raise engine_gone()
        if fault and fault.fault == FaultKind.ABORT and pace.made > fault.after_tokens:
            raise Aborted
        if fault and fault.fault == FaultKind.NO_FINISH:
            for choice in frame.payload["choices"]:
                choice["finish_reason"] = None
        yield frame


async def _stream(exchange: Exchange, frames: AsyncIterator[Frame]) -> None:
    """SSE, its head being out."""
    last: Body = {}
    try:
        async for frame in frames:
            last = frame.payload
            await exchange.send(_event(last))
    except Aborted:
        await exchange.send(_event(_abort_chunk(last)))
    await _end(exchange)


async def _end(exchange: Exchange) -> None:
    if not (exchange.fault and exchange.fault.fault == FaultKind.NO_DONE):
        await exchange.send(DONE)
    await exchange.end()


def _abort_chunk(last: Body) -> Body:
    """The chunk after ``last`` that ends all its choices with ``finish_reason`` "abort"."""
    choices: list[Body] = []
    for choice in last.get("choices", []):
        nothing: Body = {"delta": {}} if "delta" in choice else {"text": ""}
        choices.append({**choice, **nothing, "finish_reason": "abort", "stop_reason": None})
    return {**last, "choices": choices}


def _event(payload: object) -> bytes:
    return b"data: " + encoded(payload) + b"\n\n"
