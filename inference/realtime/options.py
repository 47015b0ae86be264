"""How a session is set: which models serve its parts, what is heard and said, how. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from inference.realtime.outlet import Event
from inference.realtime.voice import Sensitivity
from kernel.errors import Malformed

RATES = (16000, 24000)
OUTPUT_RATE = 24000
AUDIO, TEXT = "audio", "text"
INFINITE = "inf"
_Text = Annotated[str, Meta(max_length=100_000)]
_Name = Annotated[str, Meta(max_length=500)]


class _Format(msgspec.Struct):
    type: str | None = None
    rate: int | None = None


class _Transcription(msgspec.Struct):
    model: _Name | UnsetType | None = UNSET
    language: _Name | UnsetType | None = UNSET
    prompt: _Text | UnsetType | None = UNSET


class _Detection(msgspec.Struct):
    type: str = "server_vad"
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=5000)] | None = None
    silence_duration_ms: Annotated[int, Meta(ge=40, le=30_000)] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class _Input(msgspec.Struct):
    format: _Format | UnsetType | None = UNSET
    transcription: _Transcription | UnsetType | None = UNSET
    turn_detection: _Detection | UnsetType | None = UNSET


class _Output(msgspec.Struct):
    format: _Format | UnsetType | None = UNSET
    model: _Name | UnsetType | None = UNSET
    voice: Any = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=4)] | UnsetType = UNSET


class _Audio(msgspec.Struct):
    input: _Input | UnsetType = UNSET
    output: _Output | UnsetType = UNSET


class _Session(msgspec.Struct):
    type: str = "realtime"
    model: _Name | UnsetType | None = UNSET
    instructions: _Text | UnsetType | None = UNSET
    output_modalities: list[str] | UnsetType = UNSET
    max_output_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] | str | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    tools: list[Any] | None = None
    audio: _Audio | UnsetType = UNSET


_USUAL = Sensitivity()


@dataclass(frozen=True, slots=True)
class Detection:
    """Turns are found by voice activity."""

    sensitivity: Sensitivity = _USUAL
    creates: bool = True  # a response follows
    interrupts: bool = True  # speech stops a response


@dataclass(frozen=True, slots=True)
class Options:
    model: str = ""
    instructions: str = ""
    modalities: tuple[str, ...] = (AUDIO,)
    tokens_max: int | None = None
    temperature: float | None = None
    rate: int = 24000
    transcription_model: str = ""
    language: str = ""
    prompt: str = ""
    detection: Detection | None = Detection()
    speech_model: str = ""
    voice: str = "alloy"
    speed: float = 1.0

    @property
    def models(self) -> dict[str, str]:
        """The models that are named, by where they are."""
        named = {
            "session.model": self.model,
            "session.audio.input.transcription.model": self.transcription_model,
            "session.audio.output.model": self.speech_model,
        }
        return {where: name for where, name in named.items() if name}

    def updated(self, session: dict[str, Any]) -> Options:
        """With what a ``session.update`` says. Raises ``Malformed``; nothing has changed then."""
        try:
            given = msgspec.convert(session, _Session)
        except msgspec.ValidationError as error:
            raise _wrong(str(error)) from None
        if given.type != "realtime":
            raise _refused("type", "session.type is realtime here.")
        if given.tools:
            raise _refused("tools", "Tools are not served in sessions yet: leave them out.")
        changed = self._general(given)
        if isinstance(given.audio, _Audio):
            if isinstance(given.audio.input, _Input):
                changed = _input(changed, given.audio.input)
            if isinstance(given.audio.output, _Output):
                changed = _output(changed, given.audio.output)
        return changed

    def _general(self, given: _Session) -> Options:
        changed = self
        if given.model is not UNSET:
            changed = replace(changed, model=given.model or "")
        if given.instructions is not UNSET:
            changed = replace(changed, instructions=given.instructions or "")
        if given.output_modalities is not UNSET:
            changed = replace(changed, modalities=modalities(given.output_modalities))
        if given.max_output_tokens is not UNSET:
            changed = replace(changed, tokens_max=tokens_max(given.max_output_tokens))
        if given.temperature is not UNSET:
            changed = replace(changed, temperature=given.temperature)
        return changed

    def shown(self, session_id: str) -> Event:
        """The session as its events show it."""
        detection = self.detection
        return {
            "id": session_id,
            "object": "realtime.session",
            "type": "realtime",
            "model": self.model,
            "instructions": self.instructions,
            "output_modalities": list(self.modalities),
            "max_output_tokens": self.tokens_max or INFINITE,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": self.rate},
                    "transcription": _transcription(self),
                    "turn_detection": _shown(detection) if detection is not None else None,
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": OUTPUT_RATE},
                    "model": self.speech_model,
                    "voice": self.voice,
                    "speed": self.speed,
                },
            },
        }


def modalities(given: list[str]) -> tuple[str, ...]:
    if given not in ([AUDIO], [TEXT]):
        raise _refused("output_modalities", 'output_modalities is ["audio"] or ["text"].')
    return tuple(given)


def tokens_max(given: int | str | None) -> int | None:
    if isinstance(given, str):
        if given != INFINITE:
            raise _refused("max_output_tokens", 'max_output_tokens is a number or "inf".')
        return None
    return given


def _input(options: Options, given: _Input) -> Options:
    if isinstance(given.format, _Format):
        rate = given.format.rate or options.rate
        if given.format.type not in (None, "audio/pcm") or rate not in RATES:
            raise _refused("audio.input.format", "Send audio/pcm at 24000 or 16000 samples.")
        options = replace(options, rate=rate)
    said = given.transcription
    if said is None:
        options = replace(options, transcription_model="", language="", prompt="")
    elif said is not UNSET:
        options = replace(
            options,
            transcription_model=_or(said.model, options.transcription_model),
            language=_or(said.language, options.language),
            prompt=_or(said.prompt, options.prompt),
        )
    found = given.turn_detection
    if found is None:
        options = replace(options, detection=None)
    elif found is not UNSET:
        options = replace(options, detection=_detection(found, options.detection or Detection()))
    return options


def _output(options: Options, given: _Output) -> Options:
    if isinstance(given.format, _Format) and (
        given.format.type not in (None, "audio/pcm") or given.format.rate not in (None, OUTPUT_RATE)
    ):
        raise _refused("audio.output.format", "Sound goes out as audio/pcm at 24000 samples.")
    if given.voice is not UNSET:
        if not isinstance(given.voice, str) or not given.voice or len(given.voice) > 200:
            raise _refused("audio.output.voice", "voice is a name that the speech model knows.")
        options = replace(options, voice=given.voice)
    if given.speed is not UNSET:
        options = replace(options, speed=given.speed)
    return replace(options, speech_model=_or(given.model, options.speech_model))


def _detection(given: _Detection, before: Detection) -> Detection:
    if given.type != "server_vad":
        raise _refused(
            "audio.input.turn_detection", "turn_detection is of type server_vad, or null."
        )
    old = before.sensitivity
    sensitivity = Sensitivity(
        threshold=old.threshold if given.threshold is None else given.threshold,
        prefix_ms=old.prefix_ms if given.prefix_padding_ms is None else given.prefix_padding_ms,
        silence_ms=given.silence_duration_ms or old.silence_ms,
    )
    return Detection(
        sensitivity,
        creates=before.creates if given.create_response is None else given.create_response,
        interrupts=(
            before.interrupts if given.interrupt_response is None else given.interrupt_response
        ),
    )


def _or(given: str | UnsetType | None, before: str) -> str:
    return before if given is UNSET else given or ""


def _transcription(options: Options) -> Event | None:
    if not options.transcription_model:
        return None
    shown: Event = {"model": options.transcription_model}
    if options.language:
        shown["language"] = options.language
    if options.prompt:
        shown["prompt"] = options.prompt
    return shown


def _shown(detection: Detection) -> Event:
    return {
        "type": "server_vad",
        "threshold": detection.sensitivity.threshold,
        "prefix_padding_ms": detection.sensitivity.prefix_ms,
        "silence_duration_ms": detection.sensitivity.silence_ms,
        "create_response": detection.creates,
        "interrupt_response": detection.interrupts,
    }


def _wrong(said: str) -> Malformed:
    """From msgspec's words, which name the place but may show no value."""
    place = said.rpartition("`$.")[2].rstrip("`") if "`$." in said else "session"
    return Malformed(
        f"session.{place} is not what it must be: see docs/realtime.md.",
        param=f"session.{place}",
        code="invalid_value",
    )


def _refused(param: str, words: str) -> Malformed:
    return Malformed(words, param=f"session.{param}", code="invalid_value")
