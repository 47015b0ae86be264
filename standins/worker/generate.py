"""Runs one job at the engine's pace: admission, tokens in time, streams, aborts, faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from kernel.clock import NS, Clock
from standins.worker.faults import FaultKind
from standins.worker.jobs import Body, Job
from standins.worker.manners import Manner, Speech, encoded
from standins.worker.metrics import Abort, Book, Timing
from standins.worker.options import OnStop, Options
from standins.worker.refusals import Refusal, engine_gone, queue_full
from standins.worker.server import Cut, Exchange


class Aborted(Exception):
    """The engine gave the request up: its answer ends here, with ``finish_reason`` "abort"."""


class Told(Refusal):
    """The engine's end, by a fault and not by a signal."""

    def __init__(self) -> None:
        gone = engine_gone()
        super().__init__(gone.message, kind=gone.kind, status=gone.status, param=gone.param)


class Engine:
    """The part that takes time. ``stop`` ends all that runs, as a killed engine core does."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.book = Book(options.model, options.max_num_seqs, options.kv_cache_tokens)
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
        pace: Pace | None = None
        try:
            async with self.seat(lambda: self._open(exchange, job)):
                self.book.prompt_tokens += job.prompt_tokens
                pace = Pace(self, self._options, self._clock, len(job.choices))
                with self.book.caching(job.prompt_tokens + job.completion_tokens):
                    await self._answer(exchange, job, speech, pace)
                reasons = tuple(choice.answer.finish_reason for choice in job.choices)
                self.book.finish(pace.timing(arrived_ns), pace.made, reasons)
        except Refusal as refusal:
            if not (job.stream and exchange.begun):
                raise
            await _fail(exchange, refusal, speech.manner)  # too late for a status
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self.note_abort(exchange, job.identity, pace.made if pace else 0)
            raise

    @asynccontextmanager
    async def turn(
        self, exchange: Exchange, identity: str, prompt_tokens: int, *, cuts: bool = True
    ) -> AsyncIterator[Pace]:
        """A seat for work that is no text: paced as tokens are, in the book, aborted alike.

        Where the engine stops after the head went out, the connection is cut (unless not
        ``cuts``: then ``Refusal`` is raised as it is before the head); where it gives the work
        up, the answer ends there as if all were well.
        """
        arrived_ns = self._clock.monotonic_ns()
        pace: Pace | None = None
        try:
            async with self.seat(lambda: self.be_late(exchange)):
                self.book.prompt_tokens += prompt_tokens
                pace = Pace(self, self._options, self._clock, 1, exchange)
                yield pace
                self.book.finish(pace.timing(arrived_ns), pace.made, ("stop",))
        except Aborted as given_up:
            if not exchange.begun:
                raise engine_gone() from given_up
            await exchange.end()
        except Refusal as refusal:
            if not exchange.begun or not cuts:
                raise
            raise Cut from refusal
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self.note_abort(exchange, identity, pace.made if pace else 0)
            raise

    async def _open(self, exchange: Exchange, job: Job) -> None:
        """A stream's head goes out before its request gets a seat, as vLLM does it."""
        await self.be_late(exchange)
        if job.stream:
            await exchange.begin(200, "text/event-stream; charset=utf-8")

    async def be_late(self, exchange: Exchange) -> None:
        if exchange.fault and exchange.fault.fault == FaultKind.LATE:
            await self.wait(exchange.fault.seconds)

    async def _answer(self, exchange: Exchange, job: Job, speech: Speech, pace: Pace) -> None:
        frames = _faulty(speech, job, exchange, pace)
        if job.stream:
            await _stream(exchange, frames, job, speech, pace)
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


class Pace:
    """When each token is due, counted from the start so that no error adds up.

    With ``exchange`` the faults of a token's place are met here.
    """

    def __init__(
        self,
        engine: Engine,
        options: Options,
        clock: Clock,
        choices: int,
        exchange: Exchange | None = None,
    ) -> None:
        self.made = 0
        self._steps = 0
        self._exchange = exchange
        self.first_ns = 0
        self._engine = engine
        self._clock = clock
        self._choices = choices
        rate = options.tokens_per_second
        self._token_ns = NS / rate if rate > 0 else 0.0
        self._start_ns = clock.monotonic_ns()
        self._wait_ns = options.first_token_ms * 1_000_000

    async def next(self, tokens: int) -> None:
        """Wait for the next token's time, then count ``tokens`` (0: a step without any)."""
        if self._exchange:
            meet_token_fault(self._exchange, self._steps)
        step = self._steps // self._choices
        due_ns = self._start_ns + self._wait_ns + step * self._token_ns
        await self._engine.wait((due_ns - self._clock.monotonic_ns()) / NS)
        self.made += tokens
        self._steps += 1 if self._exchange else tokens
        self._engine.book.generation_tokens += tokens
        if not self.first_ns and (tokens or self._exchange):
            self.first_ns = self._clock.monotonic_ns()

    def timing(self, arrived_ns: int) -> Timing:
        now_ns = self._clock.monotonic_ns()
        return Timing(arrived_ns, self._start_ns, self.first_ns or now_ns, now_ns)


def meet_token_fault(exchange: Exchange, made: int) -> None:
    """Before each token: raises what a fault after ``after_tokens`` asks for."""
    fault = exchange.fault
    if fault is None or made < fault.after_tokens:
        return
    if fault.fault == FaultKind.ERROR_THEN_DONE:
        raise Told
    if fault.fault == FaultKind.ABORT:
        raise Aborted


async def _faulty(speech: Speech, job: Job, exchange: Exchange, pace: Pace) -> AsyncIterator[Body]:
    """The events in their time, as a fault of the stream's content leaves them."""
    cut_short = _has(exchange, FaultKind.NO_FINISH)
    if not speech.manner.end:  # its finish is its end
        cut_short = cut_short or _has(exchange, FaultKind.NO_DONE)
    for frame in speech.frames(job):
        if frame.tokens:
            meet_token_fault(exchange, pace.made)
        await pace.next(frame.tokens)
        shown = speech.manner.unfinished(frame.payload) if cut_short else frame.payload
        if shown is not None:
            yield shown


async def _stream(
    exchange: Exchange, events: AsyncIterator[Body], job: Job, speech: Speech, pace: Pace
) -> None:
    """SSE, its head being out."""
    last: Body = {}
    try:
        async for last in events:
            await exchange.send(speech.manner.event(last))
    except Aborted:
        so_far = job.aborted(pace.made // len(job.choices))
        for event in speech.aborted(so_far, last):
            await exchange.send(speech.manner.event(event))
    if not _has(exchange, FaultKind.NO_DONE):
        await exchange.send(speech.manner.end)
    await exchange.end()


async def _fail(exchange: Exchange, refusal: Refusal, manner: Manner) -> None:
    """End an open stream with an error in its own manner."""
    write = manner.told_error if isinstance(refusal, Told) else manner.error
    if write is None:
        raise Cut from refusal
    await exchange.send(write(refusal))
    await exchange.end()


def _has(exchange: Exchange, kind: FaultKind) -> bool:
    return exchange.fault is not None and exchange.fault.fault == kind
