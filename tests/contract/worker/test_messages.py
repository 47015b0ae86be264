"""What any worker does for Anthropic's official client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.contract.worker.shapes import TOOL_USE
from tests.support.workers import Worker

ASKED: Any = {"messages": [{"role": "user", "content": "Which node runs the model?"}]}


@pytest.fixture
def client(worker: Worker) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=worker.url, api_key="none", timeout=60, max_retries=0)


def test_a_message_says_its_usage_and_why_it_ended(
    worker: Worker, client: anthropic.Anthropic
) -> None:
    answer = client.messages.create(model=worker.model, max_tokens=5, **ASKED)
    assert answer.role == "assistant"
    assert answer.content[0].type == "text"
    assert answer.stop_reason in ("max_tokens", "end_turn")
    assert 0 < answer.usage.output_tokens <= 5


def test_tokens_are_counted_as_they_are_charged(
    worker: Worker, client: anthropic.Anthropic
) -> None:
    asked = {"model": worker.model, "system": "Be short.", **ASKED}
    counted = client.messages.count_tokens(**asked)
    answer = client.messages.create(max_tokens=1, **asked)
    assert counted.input_tokens == answer.usage.input_tokens > 0


def test_a_stream_says_what_its_final_message_says(
    worker: Worker, client: anthropic.Anthropic
) -> None:
    with client.messages.stream(model=worker.model, max_tokens=12, **ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(block.text for block in final.content if block.type == "text") == text
    assert final.stop_reason in ("max_tokens", "end_turn")
    assert 0 < final.usage.output_tokens <= 12


@pytest.mark.parametrize("streamed", [False, True])
def test_a_forced_tool_is_used(worker: Worker, client: anthropic.Anthropic, streamed: bool) -> None:
    asked: Any = {"model": worker.model, "max_tokens": 200, **ASKED, **TOOL_USE}
    if streamed:
        with client.messages.stream(**asked) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = client.messages.create(**asked)
    (used,) = answer.content
    assert (used.type, used.name, used.input) == ("tool_use", "pick_unit", {"unit": "kelvin"})
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"model": "nope"}, anthropic.NotFoundError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"max_tokens": 100_000}, anthropic.BadRequestError),
        ({"extra_body": {"temperature": 9}}, anthropic.BadRequestError),
        ({"extra_body": {"temperature": 9}, "stream": True}, anthropic.BadRequestError),
    ],
)
def test_a_bad_request_raises_the_clients_own_class(
    worker: Worker,
    client: anthropic.Anthropic,
    changed: dict[str, Any],
    kind: type[anthropic.APIStatusError],
) -> None:
    with pytest.raises(kind):
        client.messages.create(**{"model": worker.model, "max_tokens": 3, **ASKED, **changed})
