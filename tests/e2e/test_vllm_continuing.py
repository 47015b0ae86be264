"""Real vLLM goes on with what another worker began, through the gateway."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kernel.wire.gateway import Segment
from tests.support.gateway import Gateway, launch, snapshot, spooled
from tests.support.scripted_worker import CUT, ScriptedWorker, chunk, scripted_worker, stream_head
from tests.support.vllm import VllmServer
from tests.unit.inference import sse
from tests.unit.inference.test_story import word

ASK: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "max_tokens": 12,
    "stream_options": {"include_usage": True},
    "extra_headers": {"x-ganglion-continue": "true"},
    "extra_body": {"ignore_eos": True},
}
BEGAN = [sse.ROLE, word("The node", 2, 11), word(" that", 3, 11)]
COUNTS = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
TEXT = sse.event({"id": "c", "choices": [{"index": 0, "text": "The node that"}], "usage": COUNTS})
TRIES = 24  # the beginning of a prompt decides which of two workers has it first


def between(dying: ScriptedWorker, server: VllmServer, folder: Path) -> Gateway:
    """A gateway for two replicas, one of which dies after three tokens."""
    port = int(server.url.rsplit(":", 1)[1])
    return launch(folder, snapshot(dying.port, port, upstream_model=server.model))


async def met(gateway: Gateway, dying: ScriptedWorker, chat: bool) -> tuple[str, Any, list[Any]]:
    """Text, usage and ends of an answer that the one that dies began."""
    client = gateway.async_client(timeout=60)
    for number in range(TRIES):
        prompt = f"Number {number}: which node runs the model?"
        messages: list[Any] = [{"role": "user", "content": prompt}]
        make: Any = client.chat.completions if chat else client.completions
        asked = {"messages": messages} if chat else {"prompt": prompt}
        text, usage, ends = "", None, []
        async for part in await make.create(**ASK, **asked):
            usage = part.usage or usage
            for choice in part.choices:
                text += (choice.delta.content if chat else choice.text) or ""
                ends += [choice.finish_reason] if choice.finish_reason else []
        if dying.requests:
            return text, usage, ends
    raise AssertionError("none was for the worker that dies")


def of_the_last(pieces: list[Segment]) -> list[Segment]:
    """Those of the request that was the last one."""
    return [one for one in pieces if one.request_id == pieces[-1].request_id]


@pytest.mark.feature("A12")
@pytest.mark.parametrize("chat", [True, False])
async def test_vllm_writes_on_for_what_is_left(
    vllm_server: VllmServer, tmp_path: Path, chat: bool
) -> None:
    began = BEGAN if chat else [TEXT]
    async with scripted_worker([stream_head(), *map(chunk, began), CUT]) as dying:
        gateway = between(dying, vllm_server, tmp_path)
        try:
            text, usage, ends = await met(gateway, dying, chat)
            assert text.startswith("The node that")
            assert (usage.prompt_tokens, usage.completion_tokens) == (11, 12)
            assert ends == ["length"]
            mine = of_the_last(spooled(gateway.spool))
            tokens = Counter({0: 0, 1: 0})
            for one in mine:  # a window's end cuts one in two
                tokens[one.attempt] += one.completion_tokens
            assert tokens == {0: 3, 1: 9}
            assert not any(one.tokens_estimated for one in of_the_last(gateway.segments()))
        finally:
            gateway.kill()
