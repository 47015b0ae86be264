"""The official client against real vLLM through the gateway: nothing on the way is pretended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from node_agent.probe import read_gauges
from tests.support.gateway import KEY, Gateway, launch, snapshot, spooled
from tests.support.vllm import VllmServer
from tests.support.wait import until

MESSAGES: Any = [{"role": "user", "content": "Which node runs the model?"}]
ALL_OF_THEM: dict[str, Any] = {"extra_body": {"ignore_eos": True}}
UNITS = {
    "type": "object",
    "properties": {"unit": {"type": "string", "enum": ["celsius", "kelvin"]}},
    "required": ["unit"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "pick_unit", "strict": True, "parameters": UNITS},
}
FORCED: Any = {"type": "function", "function": {"name": "pick_unit"}}


def in_front_of(server: VllmServer, folder: Path, **deployment: object) -> Gateway:
    port = int(server.url.rsplit(":", 1)[1])
    return launch(folder, snapshot(port, upstream_model=server.model, **deployment))


def gauge(server: VllmServer, name: str) -> float:
    page = httpx.get(f"{server.url}/metrics", timeout=10).text
    lines = [line for line in page.splitlines() if line.startswith(f"vllm:{name}{{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.feature("D2")
def test_it_tells_the_room_in_its_cache(vllm_server: VllmServer) -> None:
    page = httpx.get(f"{vllm_server.url}/metrics", timeout=10).text
    assert read_gauges(page.splitlines())["kv_cache_tokens"] >= 4_096, "one request at least"


@pytest.fixture
def gateway(vllm_server: VllmServer, tmp_path: Path) -> Iterator[Gateway]:
    started = in_front_of(vllm_server, tmp_path)
    yield started
    started.kill()


@pytest.mark.feature("A1")
def test_a_plain_chat_answers_with_its_usage(gateway: Gateway) -> None:
    answer = gateway.client().chat.completions.create(
        model="m", messages=MESSAGES, max_tokens=7, n=2, **ALL_OF_THEM
    )
    assert len(answer.choices) == 2
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 14


@pytest.mark.feature("A1", "A10")
def test_a_stream_shows_usage_only_when_asked(gateway: Gateway) -> None:
    asked: Any = {"model": "m", "messages": MESSAGES, "max_tokens": 6, "stream": True}
    hidden = list(gateway.client().chat.completions.create(**asked, **ALL_OF_THEM))
    shown = list(
        gateway.client().chat.completions.create(
            **asked, **ALL_OF_THEM, stream_options={"include_usage": True}
        )
    )
    assert not any(chunk.usage for chunk in hidden)
    assert hidden[-1].choices[0].finish_reason == "length"
    assert shown[-1].usage.completion_tokens == 6


@pytest.mark.feature("A1")
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_tool_is_called(gateway: Gateway, stream: bool) -> None:
    asked: Any = {"model": "m", "messages": MESSAGES, "tools": [TOOL], "tool_choice": FORCED}
    answer = gateway.client().chat.completions.create(
        **asked, max_tokens=200, seed=1, stream=stream
    )
    if stream:
        calls = [call for chunk in answer for call in chunk.choices[0].delta.tool_calls or []]
    else:
        calls = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls if call.function.name] == ["pick_unit"]
    assert "unit" in json.loads("".join(call.function.arguments or "" for call in calls))


@pytest.mark.feature("A1")
def test_a_schema_and_logprobs_and_unknown_fields_pass(gateway: Gateway) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "unit", "schema": UNITS}}
    answer = gateway.client().chat.completions.create(
        model="m",
        messages=MESSAGES,
        response_format=wanted,
        logprobs=True,
        top_logprobs=2,
        seed=1,
        max_tokens=200,
        extra_body={"sparkle": 3},
    )
    choice = answer.choices[0]
    assert json.loads(choice.message.content or "")["unit"] in ("celsius", "kelvin")
    assert choice.logprobs is not None
    assert choice.logprobs.content


@pytest.mark.feature("A2")
@pytest.mark.parametrize("stream", [False, True])
def test_completions_answer(gateway: Gateway, stream: bool) -> None:
    answer = gateway.client().completions.create(
        model="m", prompt="The brain", max_tokens=5, stream=stream, **ALL_OF_THEM
    )
    chunks = list(answer) if stream else [answer]
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.long
@pytest.mark.feature("A3")
def test_embeddings_answer_as_floats_and_base64(
    vllm_embedding_server: VllmServer, tmp_path: Path
) -> None:
    gateway = in_front_of(vllm_embedding_server, tmp_path, kind="embedding")
    try:
        client = gateway.client()
        packed = client.embeddings.create(model="m", input=["A node", "A brain"])
        floats = client.embeddings.create(model="m", input="A node", encoding_format="float")
        assert len(packed.data) == 2
        assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-4)
    finally:
        gateway.kill()


@pytest.mark.feature("A7")
async def test_the_model_is_listed_with_vllms_own_fields(gateway: Gateway) -> None:
    def listed() -> bool:
        (model,) = gateway.client().models.list().data
        return model.id == "m" and model.model_dump().get("max_model_len") == 4096

    await until(listed)
    assert gateway.client().models.retrieve("m").model_dump()["max_model_len"] == 4096


@pytest.mark.feature("A9")
def test_vllms_refusal_is_the_clients_own_error(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gateway.client().chat.completions.create(model="m", messages=MESSAGES, max_tokens=9999)
    assert refused.value.param == "max_tokens"


async def tokens_made_for_a_client_that_left(
    gateway: Gateway, server: VllmServer, longest: int
) -> float:
    before = gauge(server, "generation_tokens_total")
    stream = gateway.client().chat.completions.create(
        model="m", messages=MESSAGES, max_tokens=longest, n=4, stream=True, **ALL_OF_THEM
    )
    stream.close()
    await until(lambda: gauge(server, "num_requests_running") == 0)
    return gauge(server, "generation_tokens_total") - before


@pytest.mark.feature("A11")
async def test_a_hang_up_stops_vllm(gateway: Gateway, vllm_server: VllmServer) -> None:
    longest = 3600
    # On a busy machine a tiny model may be done before its client gets to leave: try again.
    tries = [
        await tokens_made_for_a_client_that_left(gateway, vllm_server, longest) for _ in range(3)
    ]
    assert min(tries) < 3 * longest


@pytest.mark.feature("A16")
def test_a_response_is_whole_and_tells_its_usage(gateway: Gateway) -> None:
    answer = gateway.client().responses.create(
        model="m", input="Which node runs the model?", max_output_tokens=7, **ALL_OF_THEM
    )
    assert answer.usage is not None
    assert answer.usage.output_tokens == 7


@pytest.mark.feature("A16")
def test_a_streamed_response_ends_with_its_last_event(gateway: Gateway) -> None:
    events = gateway.client().responses.create(
        model="m",
        input=[{"role": "user", "content": "Which node?"}],
        max_output_tokens=7,
        stream=True,
        **ALL_OF_THEM,
    )
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert "response.output_text.delta" in kinds


@pytest.mark.feature("A17")
@pytest.mark.parametrize("stream", [False, True])
def test_a_message_by_anthropics_client(gateway: Gateway, stream: bool) -> None:
    client = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, timeout=60, max_retries=0)
    asked: Any = {"model": "m", "messages": MESSAGES, "max_tokens": 7}
    if stream:
        with client.messages.stream(**asked) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert 0 < answer.usage.output_tokens <= 7
    found = spooled(gateway.spool)  # a window's end cuts a request in two
    mine = [one for one in found if one.request_id == found[-1].request_id]
    assert sum(one.completion_tokens for one in mine) == answer.usage.output_tokens
    assert client.messages.count_tokens(model="m", messages=MESSAGES).input_tokens > 0
