"""What any worker that hears does for the official client. Real vLLM: in the long tests."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.contract.worker.shapes import HEAR, SHORT, TRANSLATE
from tests.support.wait import until
from tests.support.workers import Worker
from tests.support.workers_routes import sound

SHORTLY: Any = {"language": "en", "temperature": 0}
EIGHT: Any = {"extra_body": {"max_completion_tokens": "8"}}


def test_a_sound_has_words_and_seconds(hearing_worker: Worker) -> None:
    heard = hearing_worker.client.audio.transcriptions.create(
        model=hearing_worker.model, file=("a.wav", sound(1.5)), **SHORTLY, **EIGHT
    )
    assert heard.text
    assert heard.usage is not None
    assert heard.usage.type == "duration"
    assert heard.usage.seconds == 2


def test_the_streamed_words_are_the_plain_ones(hearing_worker: Worker) -> None:
    def ask(**more: str) -> Any:
        files = {"file": ("a.wav", sound(), "audio/wav")}
        asked = {**SHORT, "model": hearing_worker.model, **more}
        return httpx.post(f"{hearing_worker.url}{HEAR}", data=asked, files=files, timeout=60)

    lines = [line for line in ask(stream="true").text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [httpx.Response(200, content=line[6:]).json() for line in lines[:-1]]
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == ask().json()["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_translation_has_words_alone(hearing_worker: Worker) -> None:
    files = {"file": ("a.wav", sound(), "audio/wav")}
    asked = {**SHORT, "model": hearing_worker.model}
    told = httpx.post(f"{hearing_worker.url}{TRANSLATE}", data=asked, files=files, timeout=60)
    assert set(told.json()) == {"text"}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"model": "nope"}, openai.NotFoundError),
        ({"file": ("a.wav", b"no sound")}, openai.BadRequestError),
        ({"response_format": "srt"}, openai.BadRequestError),
        ({"language": "nowhere"}, openai.BadRequestError),
    ],
    ids=["model", "sound", "format", "language"],
)
def test_a_bad_request_raises_the_clients_own_class(
    hearing_worker: Worker, changed: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    asked = {"model": hearing_worker.model, "file": ("a.wav", sound()), **changed}
    with pytest.raises(kind):
        hearing_worker.client.audio.transcriptions.create(**asked)


async def test_the_counters_grow(hearing_worker: Worker) -> None:
    before = hearing_worker.gauge("generation_tokens_total")
    hearing_worker.client.audio.transcriptions.create(
        model=hearing_worker.model, file=("a.wav", sound()), **SHORTLY, **EIGHT
    )
    await until(lambda: hearing_worker.gauge("generation_tokens_total") > before)
    assert hearing_worker.gauge("generation_tokens_total") == before + 8
