"""The sound of a session: kept while somebody speaks, cut where speech starts and stops. Pure."""

from __future__ import annotations

from collections.abc import Callable

from inference.realtime.options import Detection
from inference.realtime.sound import Heard, Room, bytes_of, milliseconds
from inference.realtime.voice import BEGIN_FRAMES, FRAME_MS, Started, Voice
from kernel.errors import GanglionError, LimitReached, TooLarge

SLICE_MS = 100  # a long append is looked at in such pieces, so that a cut is near its place
ONSET_MS = (BEGIN_FRAMES + 1) * FRAME_MS  # heard before a start is told

OnStart = Callable[[int], None]
OnStop = Callable[[int, bytes], None]


class Ear:
    """With ``detection`` it finds speech itself; without, it keeps all until it is taken."""

    def __init__(
        self, rate: int, detection: Detection | None, seconds_max: float, room: Room
    ) -> None:
        self._seconds_max = seconds_max
        self._room = room
        self.set(rate, detection)

    @property
    def size(self) -> int:
        return self._heard.size

    @property
    def size_ms(self) -> int:
        return milliseconds(self._heard.size, self._rate)

    @property
    def unfinished(self) -> bool:
        """What is kept may be speech."""
        return self._voice is None or self._voice.speaking

    @property
    def speaking(self) -> bool:
        return self._voice is not None and self._voice.speaking

    @property
    def span_ms(self) -> tuple[int, int]:
        """Where what is kept begins and ends, from the start of the stream."""
        return self._heard.start_ms, self._heard.end_ms

    def peek(self) -> bytes:
        return self._heard.peek()

    def set(self, rate: int, detection: Detection | None) -> None:
        """Another rate is another stream; other ways of finding speech start anew."""
        before: Heard | None = getattr(self, "_heard", None)
        if before is None or before.rate != rate:
            self._heard = Heard(rate, bytes_of(self._seconds_max * 1000, rate), self._room)
        self._rate = rate
        self._base_ms = self._heard.end_ms  # where the voice's own time begins
        self._voice = Voice(rate, detection.sensitivity) if detection is not None else None

    def hear(self, sound: bytes, started: OnStart, stopped: OnStop) -> None:
        """Tells each start and stop of speech. Raises ``TooLarge`` when this stream is full, and
        ``LimitReached`` when all together are: what did not fit is not kept."""
        size = bytes_of(SLICE_MS, self._rate)
        for start in range(0, len(sound), size):
            self._slice(sound[start : start + size], started, stopped)

    def take(self) -> bytes:
        """All that is kept; who still speaks begins anew."""
        if self._voice is not None:
            self._voice.quiet()
        return self._heard.take()

    def _slice(self, sound: bytes, started: OnStart, stopped: OnStop) -> None:
        heard, voice = self._heard, self._voice
        if not heard.add(sound):
            if voice is None or not voice.speaking or not heard.full(len(sound)):
                raise self._no_room(len(sound))
            stopped(heard.end_ms, self.take())  # nobody may speak for ever
            if not heard.add(sound):
                raise self._no_room(len(sound))
        if voice is None:
            return
        for change in voice.feed(sound):
            at_ms = max(change.at_ms + self._base_ms, heard.start_ms)
            if isinstance(change, Started):
                heard.keep_last(heard.end_ms - at_ms)
                started(at_ms)
            else:
                stopped(at_ms, heard.take())
        if not voice.speaking:
            heard.keep_last(voice.sensitivity.prefix_ms + ONSET_MS + SLICE_MS)

    def _no_room(self, more: int) -> GanglionError:
        if self._heard.full(more):
            return TooLarge(
                f"At most {self._seconds_max:g} s of sound are kept: commit or clear it.",
                code="input_audio_buffer_full",
            )
        return LimitReached(
            "The gateway keeps as much sound as it may: send this again in a moment.",
            code="input_audio_no_room",
            retry_after=1,
        )
