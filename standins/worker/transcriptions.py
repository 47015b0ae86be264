"""/v1/audio/transcriptions and /v1/audio/translations: a form with a file in, its words out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from standins.worker import answers, jobs
from standins.worker.answers import END
from standins.worker.desk import Desk
from standins.worker.jobs import Body, Choice, Frame, Job, Limits
from standins.worker.manners import CHOICES, Speech, choices_aborted
from standins.worker.refusals import Refusal, bad_field, bad_value
from standins.worker.server import Exchange
from standins.worker.uploads import File, Form, read_form

TOKENS_PER_SECOND = 50  # whisper's audio tokens
COMPRESSED_BYTES_PER_SECOND = 16_000
FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
SPOKEN = ("json", "text", "verbose_json", "diarized_json")
MAGIC = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\x1aE\xdf\xa3")


@dataclass(frozen=True, slots=True)
class Task:
    """What the two routes differ in."""

    name: str
    chunk: str
    tells_seconds: bool


TRANSCRIBE = Task("transcribe", "transcription.chunk", True)
TRANSLATE = Task("translate", "translation.chunk", False)


async def answer_transcription(desk: Desk, exchange: Exchange) -> None:
    await _answer(desk, exchange, TRANSCRIBE)


async def answer_translation(desk: Desk, exchange: Exchange) -> None:
    await _answer(desk, exchange, TRANSLATE)


async def _answer(desk: Desk, exchange: Exchange, task: Task) -> None:
    desk.open_for_work()
    identity = desk.identity(exchange)
    form = await _form(desk, exchange, f"{task.name}-{identity}")
    file = _file(form, desk.options.upload_bytes_max)
    desk.check_model(form.fields.get("model"))
    job = read(form.fields, file, desk.limits, task, identity=identity, created=desk.now())

    def whole(done: Job) -> Body:
        return _whole(done, task)

    def frames(done: Job) -> Iterator[Frame]:
        return _frames(done, task)

    await desk.engine.run(exchange, job, Speech(whole, frames, choices_aborted, CHOICES))


async def _form(desk: Desk, exchange: Exchange, identity: str) -> Form:
    """The form; a client that leaves in the middle of it is written in the book."""
    if not exchange.request.is_form:
        raise bad_field("missing", "file", "Field required", None)
    try:
        form = await read_form(exchange.request.headers["content-type"], exchange.upload())
    except (ConnectionError, TimeoutError):
        desk.engine.note_abort(exchange, identity, 0)
        raise
    files = {
        name: {
            "name": file.name,
            "type": file.content_type,
            "bytes": file.size,
            "sha256": file.digest,
        }
        for name, file in form.files.items()
    }
    desk.remember(exchange, {**form.fields, **files})
    return form


def _file(form: Form, bytes_max: int) -> File:
    if "file" in form.fields:
        message = "Expected 'file' to be a file-like object, not 'str'."
        raise Refusal(message, kind="Unprocessable Entity", status=422, param=None)
    file = form.files.get("file")
    if file is None:
        raise bad_field("missing", "file", "Field required", None)
    if file.size > bytes_max:
        size = file.size / 1024**2
        raise bad_value("Maximum file size exceeded", "audio_filesize_mb", size)
    return file


def read(
    fields: dict[str, str], file: File, limits: Limits, task: Task, *, identity: str, created: int
) -> Job:
    """The job; raises ``Refusal`` as vLLM would."""
    stream = _flag(fields, "stream")
    usage, running = (_flag(fields, f"stream_{name}") for name in _STREAM_WISHES)
    if (usage or running) and not stream:
        name = "stream_include_usage" if usage else "stream_continuous_usage_stats"
        message = "Stream options can only be defined when `stream=True`. "
        raise Refusal(f"{message}(parameter={name})", param=name)
    form = fields.get("response_format", "json")
    if form not in FORMATS:
        raise bad_field("literal_error", "response_format", "Input should be 'json'", form)
    _check_format(form, stream, limits)
    _check_language(fields.get("language", "en"))
    seconds = duration(file)
    longest = fields.get("max_completion_tokens", "")
    tokens_max = int(longest) if longest.isdecimal() else limits.max_model_len
    answer = answers.transcribe(file.digest, seconds, max(tokens_max, 1))
    prompt_tokens = int(seconds * TOKENS_PER_SECOND) + answers.count(fields.get("prompt", "")) + 4
    return Job(
        identity=f"{task.name}-{identity}",
        created=created,
        model=limits.model,
        choices=(Choice(0, file.digest, prompt_tokens, answer),),
        prompt_tokens=prompt_tokens,
        stream=stream,
        include_usage=usage,
        continuous_usage=usage and running,
        logprobs=None,
        asked={"seconds": seconds, "verbose": form == "verbose_json", **fields},
    )


def duration(file: File) -> float:
    """Seconds of a WAV by its head, of other kinds by their size; refuses what is no audio."""
    head = file.head
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        at = head.find(b"fmt ")
        if 0 < at <= len(head) - 20:
            rate = int.from_bytes(head[at + 16 : at + 20], "little")  # bytes a second
            return max(file.size - 44, 0) / max(rate, 1)
    elif head.startswith(MAGIC) or head[4:8] == b"ftyp":
        return file.size / COMPRESSED_BYTES_PER_SECOND
    raise Refusal("Invalid or unsupported audio file.", param=None)


def _check_format(form: str, stream: bool, limits: Limits) -> None:
    if form not in SPOKEN:
        kinds = "`text`, `json`, `verbose_json` or `diarized_json`"
        raise Refusal(f"Currently only support response_format: {kinds}", param=None)
    if form == "diarized_json":
        message = f"Currently do not support diarized_json for {limits.model}"
        raise Refusal(message, param=None)
    if form == "verbose_json" and stream:
        raise Refusal(f"{form} format doesn't support streaming case", param=None)


def _check_language(language: str) -> None:
    """By its length alone: vLLM knows the hundred codes of Whisper, of two or three letters."""
    if len(language) not in (2, 3):
        raise Refusal(f"Unsupported language: {language!r}.", param=None)


def _whole(job: Job, task: Task) -> Body:
    """vLLM answers ``text`` with the same JSON as ``json``."""
    text, seconds = job.choices[0].answer.text, job.asked["seconds"]
    if job.asked["verbose"]:
        return _verbose(job, text, seconds)
    if not task.tells_seconds:
        return {"text": text}
    return {"text": text, "usage": {"type": "duration", "seconds": -int(-seconds // 1)}}


def _verbose(job: Job, text: str, seconds: float) -> Body:
    segment: Body = {
        "id": 0,
        "avg_logprob": answers.logprob(text, 0),
        "compression_ratio": 1.0,
        "end": seconds,
        "no_speech_prob": None,
        "seek": 0,
        "start": 0.0,
        "temperature": 0.0,
        "text": text,
        "tokens": list(range(job.completion_tokens)),
    }
    language = job.asked.get("language", "en")
    facts = {"duration": seconds, "language": language, "text": text}
    return facts | {"segments": [segment], "words": None}


def _frames(job: Job, task: Task) -> Iterator[Frame]:
    answer = job.choices[0].answer
    head: Body = {
        "id": job.identity,
        "object": task.chunk,
        "created": job.created,
        "model": job.model,
    }
    for place, piece in enumerate(answer.pieces, 1):
        choice: Body = {"delta": {"content": piece}}
        if place == len(answer.pieces):
            choice |= {"finish_reason": answer.finish_reason, "stop_reason": None}
        chunk: Body = head | {"choices": [choice]}
        if job.continuous_usage:
            chunk["usage"] = jobs.usage(job.prompt_tokens, place, whole=False)
        if piece != END or place == len(answer.pieces):
            yield Frame(chunk, tokens=1)
    if job.include_usage:
        counts = jobs.usage(job.prompt_tokens, job.completion_tokens, whole=False)
        yield Frame(head | {"choices": [], "usage": counts})


def _flag(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "1", "yes", "on", "t", "y")


_STREAM_WISHES = ("include_usage", "continuous_usage_stats")
