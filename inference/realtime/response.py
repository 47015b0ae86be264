"""One response: a chat model's words, spoken sentence by sentence while it still writes.

The words of a response whose modality is text are its answer; else they are its transcript, and
the sound comes beside them. One sentence is spoken at a time, so they come in order.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.realtime import events
from inference.realtime.caller import Caller
from inference.realtime.conversation import Item
from inference.realtime.leg import CHAT, SPEECH, Leg
from inference.realtime.options import AUDIO, INFINITE, OUTPUT_RATE, Options
from inference.realtime.outlet import Event
from inference.realtime.sentences import Sentences
from inference.realtime.sound import SAMPLE_BYTES, milliseconds
from inference.realtime.turn import Turn
from inference.realtime.words import Words
from kernel.errors import GanglionError

IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"
CANCELLED, FAILED = "cancelled", "failed"
TURN_DETECTED, CLIENT_CANCELLED = "turn_detected", "client_cancelled"
Send = Callable[..., None]


@dataclass(slots=True, eq=False)
class Response:
    """``begin`` it once; ``done`` is called once, with the error of one that failed."""

    id: str
    item: Item
    caller: Caller
    options: Options
    turn: Turn
    send: Send
    done: Callable[[GanglionError | None], None]
    metadata: dict[str, str] | None = None
    _chat: Leg | None = None
    _speech: Leg | None = None
    _said: Words = field(default_factory=Words)
    _sentences: Sentences = field(default_factory=Sentences)
    _unspoken: deque[str] = field(default_factory=deque)
    _written: bool = False  # the chat model is at its end
    _over: bool = False
    _halted: bool = False  # the client reads too slowly: nothing new is begun
    _sound_bytes: int = 0
    _odd: bytes = b""

    @property
    def _speaks(self) -> bool:
        return AUDIO in self.options.modalities

    def begin(self, messages: list[Event], previous_item_id: str | None) -> None:
        self.item.status, self.item.text = IN_PROGRESS, ""
        shown = self.item.shown()
        self.send("response.created", response=self._shown(IN_PROGRESS))
        self.send("response.output_item.added", item=shown, **self._place(item=False))
        self.send("conversation.item.added", item=shown, previous_item_id=previous_item_id)
        self.send("response.content_part.added", part=self._part(), **self._place())
        ask: dict[str, object] = {
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.options.tokens_max is not None:
            ask["max_tokens"] = self.options.tokens_max
        if self.options.temperature is not None:
            ask["temperature"] = self.options.temperature
        leg = self._chat = Leg(self.caller, CHAT, self.options.model, self._wrote, self._ended)
        leg.start(ask)
        self.turn.add(leg.entry)

    def cancel(self, reason: str) -> None:
        """Stop the workers at once."""
        if not self._over:
            self._finish(CANCELLED, reason=reason)

    def drop(self) -> None:
        """The same where nobody is there to be told."""
        if not self._over:
            self._over = True
            self._stop()
            self.turn.write(self.caller, CANCELLED)

    def halt(self) -> None:
        self._halted = True

    def go_on(self) -> None:
        self._halted = False
        self._speak()

    def legs(self) -> list[Leg]:
        return [leg for leg in (self._chat, self._speech) if leg is not None]

    # The chat model.

    def _wrote(self, content: bytes) -> None:
        words = self._said.feed(content)
        if not words:
            return
        self.item.text = self._said.text
        kind = "output_audio_transcript" if self._speaks else "output_text"
        self.send(f"response.{kind}.delta", delta=words, **self._place())
        if self._speaks:
            self._unspoken.extend(self._sentences.feed(words))
            self._speak()

    def _ended(self, error: GanglionError | None) -> None:
        self._chat = None
        error = error or self._said.failure(CHAT)
        if error is not None:
            self._fail(error)
            return
        self._written = True
        rest = self._sentences.end()
        if rest and self._speaks:
            self._unspoken.append(rest)
        self._speak()

    # The voice.

    def _speak(self) -> None:
        """Say the next sentence, or be done."""
        if self._speech is not None or self._over or self._halted:
            return
        if not self._unspoken:
            if self._written:
                self._complete()
            return
        sentence = self._unspoken.popleft()
        options = self.options
        ask: dict[str, object] = {
            "input": sentence,
            "voice": options.voice,
            "response_format": "pcm",
        }
        if options.speed != 1.0:
            ask["speed"] = options.speed

        def ended(error: GanglionError | None) -> None:
            self._spoke(sentence, error)

        leg = self._speech = Leg(self.caller, SPEECH, options.speech_model, self._sounded, ended)
        leg.start(ask)
        self.turn.add(leg.entry)

    def _sounded(self, sound: bytes) -> None:
        sound = self._odd + sound
        whole = len(sound) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd = sound[whole:]
        if not whole:
            return
        self._sound_bytes += whole
        delta = base64.b64encode(sound[:whole]).decode()
        self.send("response.output_audio.delta", delta=delta, **self._place())

    def _spoke(self, sentence: str, error: GanglionError | None) -> None:
        self._speech, self._odd = None, b""
        self.item.spoken.append((milliseconds(self._sound_bytes, OUTPUT_RATE), sentence))
        if error is not None:
            self._fail(error)
        else:
            self._speak()

    # The end.

    def _complete(self) -> None:
        cut = self._said.finish == "length"
        reason = "max_output_tokens" if cut else None
        self._finish(INCOMPLETE if cut else COMPLETED, reason=reason)

    def _fail(self, error: GanglionError) -> None:
        if not self._over:
            self._finish(FAILED, error=error)

    def _finish(
        self, status: str, *, reason: str | None = None, error: GanglionError | None = None
    ) -> None:
        self._over = True
        self._stop()
        self.item.status = COMPLETED if status == COMPLETED else INCOMPLETE
        turn = self.turn
        turn.sound_out_ms = milliseconds(self._sound_bytes, OUTPUT_RATE)
        text = self.item.text or ""
        if self._speaks:
            self.send("response.output_audio.done", **self._place())
            self.send("response.output_audio_transcript.done", transcript=text, **self._place())
        else:
            self.send("response.output_text.done", text=text, **self._place())
        shown = self.item.shown()
        self.send("response.content_part.done", part=self._part(text), **self._place())
        self.send("response.output_item.done", item=shown, **self._place(item=False))
        self.send("conversation.item.done", item=shown)
        self.send("response.done", response=self._shown(status, reason=reason, error=error))
        turn.write(self.caller, status)
        self.done(error)

    def _stop(self) -> None:
        for leg in self.legs():
            leg.abort()
        self._chat = self._speech = None
        self._unspoken.clear()

    # What the client sees of it.

    def _place(self, *, item: bool = True) -> dict[str, object]:
        place: dict[str, object] = {"response_id": self.id, "output_index": 0}
        if item:
            place |= {"item_id": self.item.id, "content_index": 0}
        return place

    def _part(self, text: str = "") -> Event:
        if self._speaks:
            return {"type": "audio", "transcript": text}
        return {"type": "text", "text": text}

    def _shown(
        self, status: str, *, reason: str | None = None, error: GanglionError | None = None
    ) -> Event:
        over = status != IN_PROGRESS
        shown: Event = {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": _details(status, reason, error),
            "output": [self.item.shown()] if over else [],
            "output_modalities": list(self.options.modalities),
            "max_output_tokens": self.options.tokens_max or INFINITE,
            "metadata": self.metadata,
            "usage": self._usage() if over else None,
        }
        if over:  # our own: which requests the turn was
            shown["turn_id"] = self.turn.id
            shown["legs"] = self.turn.shown()
        return shown

    def _usage(self) -> Event:
        usage = self._said.usage
        asked, said = usage.prompt or 0, usage.completion or 0
        return {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}


def _details(status: str, reason: str | None, error: GanglionError | None) -> Event | None:
    if status in (IN_PROGRESS, COMPLETED):
        return None
    details: Event = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if error is not None:
        details["error"] = events.said_of(error)
    return details
