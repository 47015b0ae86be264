"""What a worker does for the official client with sounds and pictures: the stand-in alone.

Real vLLM has no route for speech or images; a transcription by real vLLM is in
test_transcriptions.py, as it needs a server of its own.
"""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib

import httpx
import openai
import pytest

from tests.support.standin import StandIn
from tests.support.workers_routes import sound


@pytest.fixture(scope="module")
def client(quick_stand_in: StandIn) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{quick_stand_in.url}/v1", api_key="x", max_retries=0)


def test_speech_is_a_real_sound(client: openai.OpenAI, quick_stand_in: StandIn) -> None:
    with client.audio.speech.with_streaming_response.create(
        model=quick_stand_in.model, voice="alloy", input="Say it now.", response_format="wav"
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        content = answer.read()
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
        assert file.getnframes() == 4 * 1920
        assert any(file.readframes(1000))


def test_speech_without_a_format_is_mp3_frame_by_frame(
    client: openai.OpenAI, quick_stand_in: StandIn
) -> None:
    answer = client.audio.speech.create(model=quick_stand_in.model, voice="a", input="One two")
    content = answer.read()
    assert len(content) == 6 * 417  # 128 kbit/s at 44.1 kHz, no padding
    assert {content[at : at + 4] for at in range(0, len(content), 417)} == {b"\xff\xfb\x90\xc4"}


def test_the_first_sound_comes_before_the_last_is_made(quick_stand_in: StandIn) -> None:
    quick_stand_in.fail(fault="stall", after_bytes=5000)
    url, text = f"{quick_stand_in.url}/v1/audio/speech", "word " * 20
    asked = {"model": quick_stand_in.model, "input": text, "voice": "a", "response_format": "pcm"}
    with httpx.stream("POST", url, json=asked, timeout=30) as answer:
        first = next(answer.iter_raw())
    assert 0 < len(first) <= 5000


@pytest.mark.parametrize(
    "changed", [{"response_format": "opus"}, {"speed": 9}, {"input": "x" * 5000}]
)
def test_speech_that_cannot_be_is_refused(
    client: openai.OpenAI, quick_stand_in: StandIn, changed: dict[str, object]
) -> None:
    asked = {"model": quick_stand_in.model, "voice": "a", "input": "x", **changed}
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(**asked)  # type: ignore[arg-type]


def size_of(png: bytes) -> tuple[int, int]:
    """Its width and height, after a look at every chunk's sum and the length of its pixels."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack_from(">I", png, at + 8 + length)[0]
        chunks[kind] = content
        at += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)
    return width, height


def test_pictures_are_real_and_told_apart(client: openai.OpenAI, quick_stand_in: StandIn) -> None:
    answer = client.images.generate(model=quick_stand_in.model, prompt="A", n=2, size="256x256")
    pictures = [base64.b64decode(row.b64_json or "") for row in answer.data or []]
    assert [size_of(picture) for picture in pictures] == [(256, 256)] * 2
    assert pictures[0] != pictures[1]
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_picture_may_be_fetched(client: openai.OpenAI, quick_stand_in: StandIn) -> None:
    asked = {"model": quick_stand_in.model, "prompt": "A", "size": "512x512"}
    (row,) = client.images.generate(**asked, response_format="url").data or []  # type: ignore[call-overload]
    fetched = httpx.get(str(row.url), timeout=30)
    assert fetched.headers["content-type"] == "image/png"
    assert size_of(fetched.content) == (512, 512)


@pytest.mark.parametrize("changed", [{"n": 11}, {"size": "9x9"}, {"response_format": "gif"}])
def test_a_picture_that_cannot_be_is_refused(
    client: openai.OpenAI, quick_stand_in: StandIn, changed: dict[str, object]
) -> None:
    with pytest.raises(openai.BadRequestError):
        client.images.generate(**{"model": quick_stand_in.model, "prompt": "A", **changed})  # type: ignore[call-overload]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # by OpenAI, for translations
def test_a_transcription_and_a_translation(client: openai.OpenAI, quick_stand_in: StandIn) -> None:
    asked = {"model": quick_stand_in.model, "file": ("a.wav", sound(3))}
    heard = client.audio.transcriptions.create(**asked)  # type: ignore[call-overload]
    told = client.audio.translations.create(**asked)  # type: ignore[call-overload]
    assert heard.text == told.text
    assert heard.usage.seconds == 3


def test_a_streamed_transcription_has_the_words_and_the_usage(
    client: openai.OpenAI, quick_stand_in: StandIn
) -> None:
    asked = {"model": quick_stand_in.model, "file": ("a.wav", sound(3))}
    plain = client.audio.transcriptions.create(**asked)  # type: ignore[call-overload]
    stream = client.audio.transcriptions.create(
        **asked, stream=True, extra_body={"stream_include_usage": "true"}
    )  # type: ignore[call-overload]
    *chunks, last = [chunk.model_dump() for chunk in stream]
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == plain.text
    assert last["usage"]["completion_tokens"] >= len(chunks)
