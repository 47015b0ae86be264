"""Sounds through the gateway to a real vLLM that hears."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.vllm import VllmServer
from tests.support.workers_routes import sound

pytestmark = [pytest.mark.feature("A4"), pytest.mark.long]
FORM: Any = {"file": ("a.wav", sound(2), "audio/wav")}
SHORT: Any = {"max_completion_tokens": "8", "language": "en", "temperature": "0"}


@pytest.fixture
def gateway(start_gateway: StartGateway, vllm_speech_server: VllmServer) -> Gateway:
    port = int(vllm_speech_server.url.rsplit(":", 1)[1])
    return start_gateway(snapshot(port, upstream_model=vllm_speech_server.model))


def ask(gateway: Gateway, *, file_first: bool = False, **more: str) -> httpx.Response:
    fields = {name: (None, value) for name, value in {"model": "m", **SHORT, **more}.items()}
    files = {**FORM, **fields} if file_first else {**fields, **FORM}
    url = f"{gateway.url}/v1/audio/transcriptions"
    return httpx.post(url, headers={"authorization": f"Bearer {KEY}"}, files=files, timeout=60)


def test_every_order_and_shape_hears_the_same(gateway: Gateway) -> None:
    heard = gateway.client(timeout=60).audio.transcriptions.create(
        model="m",
        file=("a.wav", sound(2)),
        language="en",
        temperature=0,
        extra_body={"max_completion_tokens": "8"},
    )
    assert heard.text == ask(gateway, file_first=True).json()["text"]
    assert ask(gateway, response_format="text").status_code == 200
    streamed = ask(gateway, stream="true")
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in streamed.text
    last = gateway.segments()[-1]
    assert (last.end, last.tokens_estimated) == (SegmentEnd.DONE, False)
    assert last.completion_tokens == 8


def test_what_vllm_refuses_is_told_in_its_words(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="audio"):
        gateway.client(timeout=60).audio.transcriptions.create(
            model="m", file=("a.wav", b"no sound")
        )
