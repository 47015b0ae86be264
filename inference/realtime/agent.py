"""``/v1/realtime``: a conversation by voice. The client's events in; turns out.

    sound -> voice activity -> transcription -> chat model -> speech -> sound

Each arrow to a model is a :class:`Leg` to a deployment of its own. One response runs at a time;
new speech or ``response.cancel`` stops its workers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from inference.realtime import events
from inference.realtime.caller import Caller
from inference.realtime.conversation import ASSISTANT, SYSTEM, USER, Conversation, Item
from inference.realtime.ear import Ear
from inference.realtime.leg import TRANSCRIPTION, Leg
from inference.realtime.options import AUDIO, Options, modalities, tokens_max
from inference.realtime.outlet import UNSUPPORTED, Event, Outlet
from inference.realtime.response import CLIENT_CANCELLED, TURN_DETECTED, Response
from inference.realtime.session import Session
from inference.realtime.sound import milliseconds, wav
from inference.realtime.turn import Turn
from inference.realtime.words import Words
from kernel.errors import Conflict, GanglionError, Malformed

PENDING_MAX = 4  # transcriptions at once
COMMIT_MS_MIN = 100
"""Less sound than this is no speech."""


class Agent(Session):
    """One session."""

    def __init__(self, caller: Caller, outlet: Outlet, options: Options) -> None:
        super().__init__(caller, outlet)
        self._options = options
        self._conversation = Conversation()
        seconds_max = caller.gateway.settings.gateway_socket_sound_seconds_max
        self._ear = Ear(options.rate, options.detection, seconds_max, caller.room)
        self._speech_item_id = ""  # of what is being said
        self._writing: list[Leg] = []  # transcriptions that run
        self._turn: Turn | None = None  # heard, and not yet answered
        self._response: Response | None = None
        self._wish: events.Wish | None = None  # a response is to come

    # What the socket tells.

    def opened(self) -> None:
        self._send("session.created", session=self._options.shown(self._session_id))
        self._try(lambda: self._check_models(self._options))

    def _serve(self, kind: str, content: bytes) -> None:
        serve_one = self._SERVED.get(kind)
        if serve_one is None:
            raise events.unknown(kind)
        serve_one(self, content)

    def binary(self, content: bytes) -> None:
        self._outlet.close(UNSUPPORTED, "Send events as text; sound goes in as base64.")

    def paused(self) -> None:
        super().paused()
        if self._response is not None:
            self._response.halt()

    def resumed(self) -> None:
        super().resumed()
        if self._response is not None:
            self._response.go_on()

    @property
    def hearing(self) -> bool:
        return self._ear.unfinished and self._ear.size > 0

    def gone(self) -> None:
        self._over = True
        self._ear.take()
        for leg in self._writing:
            leg.abort()
        self._writing.clear()
        response, self._response = self._response, None
        if response is not None:
            response.drop()
        self._close_turn()

    # The session.

    def _update(self, content: bytes) -> None:
        options = self._options.updated(events.body(content, events.SessionUpdate).session)
        self._check_models(options)
        before, self._options = self._options, options
        if (options.rate, options.detection) != (before.rate, before.detection):
            if options.rate != before.rate and self._ear.size:
                self._options = before
                raise Conflict("Commit or clear the sound that was sent, then change its rate.")
            self._ear.set(options.rate, options.detection)
        self._send("session.updated", session=options.shown(self._session_id))

    def _check_models(self, options: Options) -> None:
        for where, model in options.models.items():
            try:
                self._caller.may_use(model)
            except GanglionError as error:
                error.param = where
                raise

    # Sound.

    def _append(self, content: bytes) -> None:
        sound = events.body(content, events.Append).audio
        if len(sound) % 2:
            raise Malformed("audio is base64 of whole samples of 16 bits.", param="audio")
        self._ear.hear(sound, self._speech_started, self._speech_stopped)

    def _speech_started(self, at_ms: int) -> None:
        self._speech_item_id = self._new("item")
        self._send(
            "input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._speech_item_id
        )
        detection = self._options.detection
        if detection is not None and detection.interrupts:
            if detection.creates:
                self._wish = None  # there will be one when this speech ends
            if self._response is not None:
                self._response.cancel(TURN_DETECTED)

    def _speech_stopped(self, at_ms: int, sound: bytes) -> None:
        item_id, self._speech_item_id = self._speech_item_id or self._new("item"), ""
        self._send("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item_id)
        detection = self._options.detection
        if detection is not None and detection.creates:
            self._wish = events.Wish()
        self._try(lambda: self._committed(item_id, sound))

    def _commit(self, content: bytes) -> None:
        if self._ear.size_ms < COMMIT_MS_MIN:
            raise Malformed(
                f"Less than {COMMIT_MS_MIN} ms of sound was sent: append more, then commit.",
                code="input_audio_buffer_commit_empty",
            )
        item_id, self._speech_item_id = self._speech_item_id or self._new("item"), ""
        self._committed(item_id, self._ear.take())

    def _clear(self, content: bytes) -> None:
        self._ear.take()
        self._speech_item_id = ""
        self._send("input_audio_buffer.cleared")

    def _committed(self, item_id: str, sound: bytes) -> None:
        """What was said becomes an item; its words follow."""
        item = Item(item_id, USER, "input_audio")
        before = self._conversation.add(item)
        self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        self._added(item, before)
        options = self._options
        if not options.transcription_model:
            self._wish = None
            raise Malformed(
                "Nothing can write this down: name a model of transcription first.",
                param="session.audio.input.transcription.model",
                code="missing_model",
            )
        if len(self._writing) >= PENDING_MAX:
            raise Conflict("Earlier speech is still being written down; wait for it.")
        turn = self._turn_to_hear()
        turn.sound_in_ms += milliseconds(len(sound), options.rate)
        self._write_down(item, turn, wav(sound, options.rate))

    def _write_down(self, item: Item, turn: Turn, sound: bytes) -> None:
        words, options = Words(), self._options

        def heard(content: bytes) -> None:
            if delta := words.feed(content):
                self._send(f"{_WRITTEN}.delta", item_id=item.id, content_index=0, delta=delta)

        def ended(error: GanglionError | None) -> None:
            self._writing.remove(leg)
            self._wrote_down(item, words, error)

        ask: dict[str, object] = {"response_format": "json", "stream": "true"}
        if options.language:
            ask["language"] = options.language
        if options.prompt:
            ask["prompt"] = options.prompt
        leg = Leg(self._caller, TRANSCRIPTION, options.transcription_model, heard, ended)
        self._writing.append(leg)
        leg.start(ask, sound)
        turn.add(leg.entry)

    def _wrote_down(self, item: Item, words: Words, error: GanglionError | None) -> None:
        place: Event = {"item_id": item.id, "content_index": 0}
        error = error or words.failure(TRANSCRIPTION)
        if error is not None:
            self._wish = None
            self._send(f"{_WRITTEN}.failed", error=events.said_of(error), **place)
            self._failed(error)
            return
        item.text = words.text.strip()
        usage = {
            "type": "tokens",
            "input_tokens": words.usage.prompt or 0,
            "output_tokens": words.usage.completion or 0,
            "total_tokens": (words.usage.prompt or 0) + (words.usage.completion or 0),
        }
        self._send(f"{_WRITTEN}.completed", transcript=item.text, usage=usage, **place)
        if not item.text:
            self._wish = None  # it was no speech
        self._respond()

    # Responses.

    def _create(self, content: bytes) -> None:
        if self._response is not None or self._wish is not None:
            raise Conflict(
                "A response is in progress: cancel it, or wait for response.done.",
                code="conversation_already_has_active_response",
            )
        wish = events.body(content, events.ResponseCreate).response or events.Wish()
        if wish.input is not None or wish.tools:
            raise Malformed("input and tools of a response are not served.", param="response")
        self._wished(wish)
        self._wish = wish
        self._respond()

    def _cancel(self, content: bytes) -> None:
        asked = events.body(content, events.ResponseCancel).response_id
        response = self._response
        waits, self._wish = self._wish is not None, None
        if response is not None and asked in (None, response.id):
            response.cancel(CLIENT_CANCELLED)
        elif not waits:
            raise Conflict(
                "There is no such response in progress.", code="response_cancel_not_active"
            )

    def _respond(self) -> None:
        """Begin the response that is wished for, once all is written down."""
        wish = self._wish
        if wish is None or self._writing or self._response is not None or self._over:
            return
        self._wish = None
        options = self._wished(wish)
        missing = "session.model" if not options.model else ""
        if AUDIO in options.modalities and not options.speech_model:
            missing = "session.audio.output.model"
        if missing:
            error = Malformed(f"Set {missing} first.", param=missing, code="missing_model")
            self._failed(error)
            return
        turn, self._turn = self._turn or self._new_turn(), None
        kind = "output_audio" if AUDIO in options.modalities else "output_text"
        item = Item(self._new("item"), ASSISTANT, kind)
        messages = self._conversation.messages(options.instructions)
        before = self._conversation.add(item)
        self._response = Response(
            self._new("resp"),
            item,
            self._caller,
            options,
            turn,
            self._send,
            self._responded,
            wish.metadata,
        )
        self._response.begin(messages, before)

    def _wished(self, wish: events.Wish) -> Options:
        options = self._options
        if wish.instructions is not None:
            options = replace(options, instructions=wish.instructions)
        if wish.output_modalities is not None:
            options = replace(options, modalities=modalities(wish.output_modalities))
        if wish.max_output_tokens is not None:
            options = replace(options, tokens_max=tokens_max(wish.max_output_tokens))
        return options

    def _responded(self, error: GanglionError | None) -> None:
        self._response = None
        if error is not None:
            self._failed(error)
        self._respond()

    # Items.

    def _item_create(self, content: bytes) -> None:
        given = events.body(content, events.ItemCreate)
        new = given.item
        text = "\n".join(part.text or part.transcript or "" for part in new.content)
        if new.type != "message" or new.role not in (USER, ASSISTANT, SYSTEM) or not text:
            raise Malformed("An item is a message of a user, system or assistant, with text.")
        kind = "output_text" if new.role == ASSISTANT else "input_text"
        item = Item(new.id or self._new("item"), new.role, kind, text)
        self._added(item, self._conversation.add(item, given.previous_item_id))

    def _item_delete(self, content: bytes) -> None:
        item_id = events.body(content, events.ItemNamed).item_id
        self._conversation.remove(item_id)
        self._send("conversation.item.deleted", item_id=item_id)

    def _item_retrieve(self, content: bytes) -> None:
        item = self._conversation.get(events.body(content, events.ItemNamed).item_id)
        self._send("conversation.item.retrieved", item=item.shown())

    def _item_truncate(self, content: bytes) -> None:
        named = events.body(content, events.ItemNamed)
        item = self._conversation.get(named.item_id)
        if item.kind != "output_audio":
            raise Malformed("Only what the assistant said can be truncated.", param="item_id")
        item.heard_until(named.audio_end_ms)
        place: Event = {"content_index": 0, "audio_end_ms": named.audio_end_ms}
        self._send("conversation.item.truncated", item_id=item.id, **place)

    # Helpers, in the order used.

    def _legs(self) -> list[Leg]:
        legs = list(self._writing)
        if self._response is not None:
            legs += self._response.legs()
        return legs

    def _turn_to_hear(self) -> Turn:
        """The turn that this speech belongs to."""
        if self._turn is not None and not self._writing:
            self._close_turn()  # nobody asked for an answer to it
        turn = self._turn = self._turn or self._new_turn()
        return turn

    def _new_turn(self) -> Turn:
        return Turn(self._new("turn"), self._session_id, self._caller.gateway.now_ns())

    def _close_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.write(self._caller, "heard")

    def _added(self, item: Item, before: str | None) -> None:
        self._send("conversation.item.added", item=item.shown(), previous_item_id=before)
        self._send("conversation.item.done", item=item.shown(), previous_item_id=before)

    _SERVED: ClassVar[dict[str, Callable[[Agent, bytes], None]]] = {
        "session.update": _update,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "response.create": _create,
        "response.cancel": _cancel,
        "conversation.item.create": _item_create,
        "conversation.item.delete": _item_delete,
        "conversation.item.retrieve": _item_retrieve,
        "conversation.item.truncate": _item_truncate,
    }


_WRITTEN = "conversation.item.input_audio_transcription"
