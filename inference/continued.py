"""A stream whose client asked that another worker goes on where one fails (``story``)."""

from __future__ import annotations

from dataclasses import dataclass

from inference import body, errors, verdict
from inference.answer import State
from inference.extras import Watched
from inference.links import Link
from inference.meter import Tokens
from inference.story import Chapter, Story, story_of
from inference.stream import SseStream
from kernel.errors import GanglionError
from kernel.wire.gateway import SegmentEnd

NO_STREAM = "it did not answer with a stream"


@dataclass(slots=True, eq=False)
class Continued(Watched):
    """Until the first content as any other; then each worker that fails has a follower, while one
    is left that has not had the request. Where none can go on the client is told as ever."""

    cause: GanglionError | None = None  # why the first one failed
    story: Story | None = None

    # ``super()`` without arguments does not work in a dataclass with slots.

    def start(self, received: bytes) -> None:
        story = self.story = story_of(received, self._route)
        Watched.start(self, received if story is None else story.first_body())

    def link_ready(self, link: Link) -> None:
        Watched.link_ready(self, link)
        if self._paused_ns and self._link is not None:
            self._link.pause()

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        if not self._goes_on or status != 200:
            Watched.answer_whole(self, status, kind, retry_after, content)
            return
        self._link = None
        self._own_answer().lost(NO_STREAM)
        self._judge(b"")

    def answer_head(self, status: int, kind: bytes, length: int) -> None:
        Watched.answer_head(self, status, kind, length)
        answer = self._answer
        if self.story is not None and isinstance(answer.stream, SseStream):
            answer.stream = self._stream = Chapter(self.story)
        elif self._goes_on:
            answer.lost(NO_STREAM)

    def _send(self, content: bytes) -> None:
        if not (self._flowing or isinstance(self._stream, Chapter)):
            self.story = None  # a plain answer begins: nobody can go on with it
        Watched._send(self, content)
        if self.story is not None:
            self._relay = None  # each event is read, so that its text is known

    def _judge(self, content: bytes) -> None:
        story, answer = self.story, self._answer
        if story is None or answer.state is State.COMPLETE:
            Watched._judge(self, content)
            return
        if content:
            self._send(content)
        if not self._flowing:
            Watched._judge(self, b"")
            return
        if isinstance(answer.stream, Chapter):
            story.over(answer.stream)
        found = verdict.judge(answer)
        ending = story.ending()
        gateway = self._gateway
        gateway.metrics.count("worker_failed" if found.healthy is False else "worker_refused")
        self._settle_breaker(healthy=found.healthy)
        self._drop_link()
        if ending is not None:  # the answer is whole, but for the word that it is
            self._leave(SegmentEnd.DONE, 200)
            self._client.last(ending)
            self._close(200, (0, 0, False))
            return
        self._leave(found.end, answer.status or found.error.status)
        self.cause = self.cause or found.error
        self._hand_on(story, again=found.again)

    def _hand_on(self, story: Story, *, again: bool) -> None:
        """To a worker that has not had it; in the words of the first failure, if there is none."""
        gateway = self._gateway
        late = gateway.now_ns() - self._started_ns > gateway.total_ns
        tries_left = len(self._tried) < gateway.settings.gateway_tries_max
        told = story.next_body() if again and tries_left and not late else None
        assert self.cause is not None, "a worker failed"
        if told is None or self._over:
            self._fail(self.cause)
            return
        self._body, self._ask = told, body.read(told, self._route)
        self._heard = False
        gateway.metrics.count("continued")
        self._dispatch(self.cause)

    def _fail(self, error: GanglionError) -> None:
        if not self._goes_on:
            Watched._fail(self, error)
            return
        self._gateway.metrics.count("stream_broken")
        self._client.last(self._route.dialect.frame_of(error))
        self._close(errors.status_of(error))

    def _close(self, status: int, tokens: Tokens | None = None, now_ns: int = 0) -> None:
        """``tokens`` are those of the last worker; of all together the limits are told."""
        if self.story is not None:
            tokens = self.story.totals(tokens or self._present())
        Watched._close(self, status, tokens, now_ns)

    def _present(self) -> Tokens:
        """Of the worker whose part was broken off, where that was not counted before."""
        stream = self._answer.stream
        if not isinstance(stream, Chapter) or stream.counted:
            return 0, 0, True
        prompt, made, _ = stream.tokens()
        return prompt, made, True

    @property
    def _goes_on(self) -> bool:
        """The client has the beginning of a stream."""
        return self.story is not None and bool(self._flowing)
