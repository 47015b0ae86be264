"""``/v1/audio/transcriptions/stream``: sound in as it is spoken, its words out.

Binary messages are PCM16; what is said between two pauses is written down when it ends: its words
come as they are found, then as a whole. With ``interim_ms`` what was said so far is written down
meanwhile too, which takes GPU time again each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from inference.realtime import events
from inference.realtime.caller import Caller
from inference.realtime.ear import Ear
from inference.realtime.leg import TRANSCRIPTION, Leg
from inference.realtime.options import Detection
from inference.realtime.outlet import Outlet
from inference.realtime.session import Session
from inference.realtime.sound import RATES, milliseconds, wav
from inference.realtime.turn import Turn
from inference.realtime.voice import Sensitivity
from inference.realtime.words import Words
from kernel.errors import Conflict, GanglionError, Malformed

PENDING_MAX = 4
COMMIT_MS_MIN = 100
INTERIM_MS_MIN = 500
DONE = 1000  # a normal close


@dataclass(slots=True)
class _Piece:
    """What was said between two pauses. What is to be told of it waits for the pieces before."""

    number: int
    start_ms: int
    end_ms: int
    words: Words = field(default_factory=Words)
    over: bool = False
    untold: list[Callable[[], None]] = field(default_factory=list)


class Dictation(Session):
    def __init__(self, caller: Caller, outlet: Outlet, query: dict[str, str]) -> None:
        super().__init__(caller, outlet)
        self._query = query
        self._pieces = 0
        self._in_order: deque[_Piece] = deque()  # of which not all is told
        self._start_ms = 0
        self._writing: dict[Leg, Turn] = {}
        self._interim: Leg | None = None
        self._interim_at_ms = 0
        self._ending = False
        self._model, self._rate, self._interim_ms = "", 24000, 0
        self._ear = Ear(24000, None, 1, caller.room)

    def opened(self) -> None:
        self._begin(self._open)

    def _open(self) -> None:
        query = self._query
        self._model = query.get("model", "")
        self._rate = _number(query, "sample_rate", 24000)
        self._interim_ms = _number(query, "interim_ms", 0)
        if self._rate not in RATES:
            raise Malformed(f"sample_rate is one of {RATES}.", param="sample_rate")
        if self._interim_ms and self._interim_ms < INTERIM_MS_MIN:
            raise Malformed(f"interim_ms is at least {INTERIM_MS_MIN}.", param="interim_ms")
        silence_ms = _number(query, "silence_ms", 500)
        detection = None
        if query.get("turn_detection", "server_vad") != "none":
            detection = Detection(Sensitivity(silence_ms=max(silence_ms, 40)))
        seconds_max = self._caller.gateway.settings.gateway_socket_sound_seconds_max
        self._ear = Ear(self._rate, detection, seconds_max, self._caller.room)
        self._caller.may_use(self._model)
        self._send("session.created", session={"id": self._session_id, "model": self._model})

    # The client.

    def binary(self, content: bytes) -> None:
        self._try(lambda: self._hear(content))

    def _serve(self, kind: str, content: bytes) -> None:
        match kind:
            case "input_audio_buffer.append":
                self._hear(events.body(content, events.Append).audio)
            case "input_audio_buffer.commit":
                self._commit()
            case "input_audio_buffer.clear":
                self._ear.take()
                self._send("input_audio_buffer.cleared")
            case "session.end":
                self._ending = True
                if self._ear.unfinished and self._ear.size_ms >= COMMIT_MS_MIN:
                    self._commit()
                self._finish()
            case other:
                raise events.unknown(other)

    def _hear(self, sound: bytes) -> None:
        if len(sound) % 2:
            raise Malformed("Send whole samples of 16 bits.", param="audio")
        if self._ending:
            raise Conflict("The session was ended: open another.")
        self._ear.hear(sound, self._started, self._stopped)
        if self._interim_ms:
            self._write_interim()

    def _started(self, at_ms: int) -> None:
        self._start_ms = self._interim_at_ms = at_ms
        self._send("input_audio_buffer.speech_started", audio_start_ms=at_ms)

    def _stopped(self, at_ms: int, sound: bytes) -> None:
        self._send("input_audio_buffer.speech_stopped", audio_end_ms=at_ms)
        self._try(lambda: self._write_down(sound, self._start_ms, at_ms))

    def _commit(self) -> None:
        if self._ear.size_ms < COMMIT_MS_MIN:
            raise Malformed(
                f"Less than {COMMIT_MS_MIN} ms of sound was sent: send more, then commit.",
                code="input_audio_buffer_commit_empty",
            )
        start_ms, end_ms = self._ear.span_ms
        self._write_down(self._ear.take(), start_ms, end_ms)

    # The words.

    def _write_down(self, sound: bytes, start_ms: int, end_ms: int) -> None:
        if len(self._writing) >= PENDING_MAX:
            raise Conflict("Earlier speech is still being written down; send more slowly.")
        self._stop_interim()
        self._pieces += 1
        piece = _Piece(self._pieces, start_ms, end_ms)
        self._in_order.append(piece)
        turn = Turn(self._new("turn"), self._session_id, self._caller.gateway.now_ns())
        turn.sound_in_ms = milliseconds(len(sound), self._rate)

        def heard(content: bytes) -> None:
            if delta := piece.words.feed(content):
                self._tell(piece, "transcript.text.delta", delta=delta)

        def ended(error: GanglionError | None) -> None:
            del self._writing[leg]
            error = error or piece.words.failure(TRANSCRIPTION)
            turn.write(self._caller, "completed" if error is None else "failed")
            self._written(piece, error)

        leg = Leg(self._caller, TRANSCRIPTION, self._model, heard, ended)
        self._writing[leg] = turn
        leg.start(self._ask(), wav(sound, self._rate))
        turn.add(leg.entry)

    def _written(self, piece: _Piece, error: GanglionError | None) -> None:
        piece.over = True
        if error is not None:
            piece.untold.append(partial(self._failed, error))
            self._tell_in_order()
        else:
            text, start_ms, end_ms = piece.words.text.strip(), piece.start_ms, piece.end_ms
            self._tell(piece, "transcript.text.done", text=text, start_ms=start_ms, end_ms=end_ms)
        self._finish()

    def _tell(self, piece: _Piece, kind: str, **members: object) -> None:
        piece.untold.append(partial(self._send, kind, segment=piece.number, **members))
        self._tell_in_order()

    def _tell_in_order(self) -> None:
        """Pieces are written down side by side, and told one after another."""
        while self._in_order:
            piece = self._in_order[0]
            if piece.over:
                self._in_order.popleft()
            untold, piece.untold = piece.untold, []
            for tell in untold:
                tell()
            if not piece.over:
                return

    def _write_interim(self) -> None:
        """What was said so far, when enough was said since the last time."""
        _, end_ms = self._ear.span_ms
        due = end_ms - self._interim_at_ms >= self._interim_ms
        if not due or self._interim is not None or not self._ear.speaking:
            return
        self._interim_at_ms = end_ms
        words, number = Words(), self._pieces + 1

        def ended(error: GanglionError | None) -> None:
            self._interim = None
            error = error or words.failure(TRANSCRIPTION)
            if error is not None:
                self._failed(error)
            else:
                text = words.text.strip()
                self._send("transcript.text.partial", segment=number, text=text, end_ms=end_ms)

        def heard(content: bytes) -> None:
            words.feed(content)

        leg = self._interim = Leg(self._caller, TRANSCRIPTION, self._model, heard, ended)
        leg.start(self._ask(), wav(self._ear.peek(), self._rate))

    def _stop_interim(self) -> None:
        leg, self._interim = self._interim, None
        if leg is not None:
            leg.abort()

    def _ask(self) -> dict[str, object]:
        ask: dict[str, object] = {"response_format": "json", "stream": "true"}
        for name in ("language", "prompt"):
            if self._query.get(name):
                ask[name] = self._query[name]
        return ask

    # The end.

    def _finish(self) -> None:
        if self._ending and not self._writing and not self._over:
            self._send("session.ended", segments=self._pieces)
            self._outlet.close(DONE, "")

    @property
    def hearing(self) -> bool:
        return self._ear.unfinished and self._ear.size > 0

    def gone(self) -> None:
        self._over = True
        self._ear.take()
        for leg in self._legs():
            leg.abort()
        for turn in self._writing.values():
            turn.write(self._caller, "cancelled")
        self._writing.clear()
        self._in_order.clear()
        self._interim = None

    def _legs(self) -> list[Leg]:
        return [*self._writing, *([self._interim] if self._interim is not None else [])]


def _number(query: dict[str, str], name: str, default: int) -> int:
    given = query.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 6:
        raise Malformed(f"{name} is a whole number.", param=name)
    return int(given)
