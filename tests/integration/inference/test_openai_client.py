"""The official OpenAI client, unmodified, through the real gateway to a stand-in worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from kernel.wire.gateway import AccountRow
from tests.support.gateway import (
    KEY,
    OTHER,
    OTHER_KEY,
    OWNER,
    PLATFORM,
    Gateway,
    StartGateway,
    deployment_row,
    key_row,
    launch,
    replica_row,
    snapshot,
)
from tests.support.standin import MODEL, StandIn

HELLO: list[Any] = [{"role": "user", "content": "Say hello to the gateway, please."}]
STOPPED, STOPPED_KEY = "acct_" + "0" * 31 + "4", "gk_" + "s" * 43


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """OWNER has the deployment ``m``; the pool has ``pool/m``; a third account is stopped."""
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    tables = snapshot(port, upstream_model=MODEL)
    tables.deployments.append(
        deployment_row("pool", 2, account_id=PLATFORM, model="pool/m", pool=True, rate_nano=10**9)
    )
    tables.replicas.append(replica_row(port, 2, 2, upstream_model=MODEL))
    tables.accounts += [AccountRow(OTHER), AccountRow(STOPPED, stopped=True)]
    tables.keys += [key_row(OTHER_KEY, OTHER), key_row(STOPPED_KEY, STOPPED)]
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


@pytest.mark.feature("A1")
def test_a_plain_chat_completion(gateway: Gateway) -> None:
    answer = gateway.client().chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


@pytest.mark.feature("A1")
def test_a_streamed_chat_completion_is_the_plain_one_in_pieces(gateway: Gateway) -> None:
    client = gateway.client()
    plain = client.chat.completions.create(model="m", messages=HELLO, seed=1)
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, seed=1, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.feature("A1", "A10")
def test_usage_is_streamed_to_who_asks_for_it(gateway: Gateway) -> None:
    chunks = list(
        gateway.client().chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices == []


@pytest.mark.feature("A1")
async def test_the_asynchronous_client(gateway: Gateway) -> None:
    async with gateway.async_client() as client:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces)


@pytest.mark.feature("A1")
def test_several_choices(gateway: Gateway) -> None:
    chunks = list(
        gateway.client().chat.completions.create(model="m", messages=HELLO, n=3, stream=True)
    )
    ended = {one.choices[0].index for one in chunks if one.choices[0].finish_reason}
    assert ended == {0, 1, 2}


@pytest.mark.feature("A1")
def test_tools(gateway: Gateway) -> None:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {}}}
    answer = gateway.client().chat.completions.create(
        model="m", messages=HELLO, tools=[tool], tool_choice="required"
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "look"


@pytest.mark.feature("A2")
@pytest.mark.parametrize("stream", [False, True])
def test_completions(gateway: Gateway, stream: bool) -> None:
    client = gateway.client()
    if stream:
        chunks = client.completions.create(model="m", prompt="Hello", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks)
    else:
        assert client.completions.create(model="m", prompt="Hello").choices[0].text


@pytest.mark.feature("A3")
@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings(gateway: Gateway, form: Any) -> None:
    answer = gateway.client().embeddings.create(
        model="m", input=["one", "two"], encoding_format=form
    )
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens > 0


@pytest.mark.feature("A7")
def test_models_are_those_of_the_key_with_the_workers_own_fields(gateway: Gateway) -> None:
    models = {model.id: model for model in gateway.client().models.list()}
    assert set(models) == {"m", "pool/m"}
    assert models["m"].owned_by == OWNER
    assert models["m"].model_extra is not None
    assert models["m"].model_extra["max_model_len"] == 4096
    assert {model.id for model in gateway.client(OTHER_KEY).models.list()} == {"pool/m"}


@pytest.mark.feature("A7")
def test_one_model_by_its_name(gateway: Gateway) -> None:
    assert gateway.client().models.retrieve("pool/m").id == "pool/m"
    with pytest.raises(openai.NotFoundError):
        gateway.client(OTHER_KEY).models.retrieve("m")


@pytest.mark.feature("A20")
def test_the_pool_serves_an_account_without_deployments(gateway: Gateway) -> None:
    answer = gateway.client(OTHER_KEY).chat.completions.create(model="pool/m", messages=HELLO)
    assert answer.choices[0].message.content


@pytest.mark.feature("A9")
@pytest.mark.parametrize(
    ("key", "model", "error", "code"),
    [
        ("gk_wrong", "m", openai.AuthenticationError, "invalid_api_key"),
        (KEY, "nothing", openai.NotFoundError, "model_not_found"),
        (OTHER_KEY, "m", openai.NotFoundError, "model_not_found"),
        (STOPPED_KEY, "pool/m", openai.APIStatusError, "insufficient_quota"),
        (KEY, "", openai.NotFoundError, "model_not_found"),
    ],
)
def test_failures_are_the_clients_own_exceptions(
    gateway: Gateway, key: str, model: str, error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as caught:
        gateway.client(key).chat.completions.create(model=model, messages=HELLO)
    assert caught.value.code == code
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


@pytest.mark.feature("A9")
def test_the_workers_refusal_is_a_bad_request_with_its_words(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.client().chat.completions.create(model="m", messages=HELLO, max_tokens=10**6)
    assert "4096" in str(caught.value)


@pytest.mark.feature("A15")
def test_privileges_are_stripped_and_the_salt_is_set(
    stand_in_worker: Any, start_gateway: StartGateway
) -> None:
    worker = stand_in_worker("--remember", "5")
    tables = snapshot(int(worker.url.rsplit(":", 1)[1]), upstream_model=MODEL, pool=True)
    body = {"model": "m", "messages": HELLO, "priority": -9, "cache_salt": "theirs", "x_y": [1]}
    assert start_gateway(tables).post(body).status_code == 200
    (seen,) = [one["body"] for one in worker.state()["remembered"]]
    assert seen["cache_salt"] == "salt-of-owner"
    assert (seen["x_y"], seen["model"], "priority" in seen) == ([1], MODEL, False)
