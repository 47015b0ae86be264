"""``/v1/audio/speech/stream``: text in as it is written, its sound out as it is made.

Text is spoken sentence by sentence, one after the other. Sound goes out as binary messages; what
is about it, as events.
"""

from __future__ import annotations

from collections import deque

import msgspec

from inference.realtime import events
from inference.realtime.caller import Caller
from inference.realtime.leg import SPEECH, Leg
from inference.realtime.outlet import UNSUPPORTED, Outlet
from inference.realtime.sentences import Sentences
from inference.realtime.session import Session
from inference.realtime.turn import Turn
from kernel.errors import GanglionError, LimitReached, Malformed

FORMATS = ("pcm", "mp3")  # those whose pieces can be played one after the other
UNSPOKEN_MAX = 64 * 1024  # characters
DONE = 1000  # a normal close


class _Text(msgspec.Struct):
    text: str


class Reading(Session):
    def __init__(self, caller: Caller, outlet: Outlet, query: dict[str, str]) -> None:
        super().__init__(caller, outlet)
        self._query = query
        self._sentences = Sentences()
        self._unspoken: deque[str] = deque()
        self._speech: Leg | None = None
        self._turn: Turn | None = None
        self._spoken = 0
        self._ending = False
        self._model = self._voice = ""
        self._ask: dict[str, object] = {}

    def opened(self) -> None:
        self._begin(self._open)

    def resumed(self) -> None:
        super().resumed()
        if self._spoken:
            self._speak()

    def _open(self) -> None:
        query = self._query
        self._model = query.get("model", "")
        form = query.get("response_format", "pcm")
        if form not in FORMATS:
            raise Malformed(f"response_format is one of {FORMATS}.", param="response_format")
        self._ask = {"voice": query.get("voice", "alloy"), "response_format": form}
        if "speed" in query:
            self._ask["speed"] = _speed(query["speed"])
        self._caller.may_use(self._model)
        session = {"id": self._session_id, "model": self._model, **self._ask}
        self._send("session.created", session=session)

    # The client.

    def binary(self, content: bytes) -> None:
        self._outlet.close(UNSUPPORTED, "Send events as text.")

    def _serve(self, kind: str, content: bytes) -> None:
        match kind:
            case "input_text.append":
                self._append(events.body(content, _Text).text)
            case "input_text.commit":
                self._flush()
            case "input_text.clear":
                self._clear()
            case "session.end":
                self._ending = True
                self._flush()
            case other:
                raise events.unknown(other)

    def _append(self, text: str) -> None:
        waiting = sum(len(piece) for piece in self._unspoken)
        if waiting + len(text) > UNSPOKEN_MAX:
            raise LimitReached("Too much text waits to be spoken; send it more slowly.")
        self._unspoken.extend(self._sentences.feed(text))
        self._speak()

    def _flush(self) -> None:
        if rest := self._sentences.end():
            self._unspoken.append(rest)
        self._speak()

    def _clear(self) -> None:
        """Stop at once; what was not spoken is forgotten."""
        self._sentences.end()
        self._unspoken.clear()
        self._stop("cancelled")
        self._send("input_text.cleared")

    # The voice.

    def _speak(self) -> None:
        if self._speech is not None or self._over or self._halted:
            return
        if not self._unspoken:
            self._finish()
            return
        sentence = self._unspoken.popleft()
        self._spoken += 1
        gateway = self._caller.gateway
        self._turn = self._turn or Turn(self._new("turn"), self._session_id, gateway.now_ns())
        self._send("speech.audio.started", segment=self._spoken, text=sentence)
        leg = Leg(self._caller, SPEECH, self._model, self._outlet.send_bytes, self._spoke)
        self._speech = leg
        leg.start({"input": sentence, **self._ask})
        self._turn.add(leg.entry)

    def _spoke(self, error: GanglionError | None) -> None:
        self._speech = None
        if error is not None:
            self._unspoken.clear()
            self._write_turn("failed")
            self._failed(error)
        else:
            self._send("speech.audio.done", segment=self._spoken)
        self._speak()

    def _finish(self) -> None:
        """All that came is spoken."""
        self._write_turn("completed")
        if self._ending and not self._over:
            self._send("session.ended", segments=self._spoken)
            self._outlet.close(DONE, "")

    def gone(self) -> None:
        self._over = True
        self._unspoken.clear()
        self._stop("cancelled")

    def _stop(self, status: str) -> None:
        if self._speech is not None:
            self._speech.abort()
            self._speech = None
        self._write_turn(status)

    def _write_turn(self, status: str) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.write(self._caller, status)

    def _legs(self) -> list[Leg]:
        return [self._speech] if self._speech is not None else []


def _speed(given: str) -> float:
    try:
        speed = float(given)
    except ValueError:
        speed = 0.0
    if not 0.25 <= speed <= 4:
        raise Malformed("speed is from 0.25 to 4.", param="speed")
    return speed
