"""Forms with a file and an ``Idempotency-Key``: each try of a client has another boundary."""

from __future__ import annotations

import pytest
from openai import APIStatusError, AsyncOpenAI, UnprocessableEntityError

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import StartGateway, snapshot
from tests.support.scripted_worker import CUT, answer, scripted_worker

HEARD = b'{"text":"hello","usage":{"type":"tokens","input_tokens":1,"output_tokens":1}}'


async def hear(client: AsyncOpenAI, sound: bytes = b"RIFF1") -> str:
    told = await client.audio.transcriptions.create(
        model="m", file=("a.wav", sound), extra_headers={"Idempotency-Key": "one"}
    )
    return told.text


@pytest.mark.feature("A13")
async def test_the_same_form_again_is_answered_without_another_run(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(HEARD)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with gateway.async_client() as client:
            assert [await hear(client), await hear(client)] == ["hello", "hello"]
            with pytest.raises(UnprocessableEntityError):
                await hear(client, b"RIFF2")
    assert len(worker.requests) == 1 == len(gateway.segments())


async def test_a_form_whose_worker_died_may_be_sent_again(start_gateway: StartGateway) -> None:
    async with scripted_worker(lambda n: [CUT] if n == 0 else [answer(HEARD)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with gateway.async_client(max_retries=2) as client:
            assert await hear(client) == "hello"
    assert [one.end for one in gateway.segments()] == [SegmentEnd.FAILED, SegmentEnd.DONE]


async def test_with_a_key_a_form_is_no_longer_than_another_body(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(snapshot(1), gateway_body_bytes_max=65536)
    async with gateway.async_client() as client:
        with pytest.raises(APIStatusError) as refused:
            await hear(client, bytes(70_000))
    assert refused.value.status_code == 413
