"""What any worker does for the official client on the Responses route."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.contract.worker.shapes import CALL
from tests.support.wait import until
from tests.support.workers import CONTEXT, Worker

ASKED: Any = {"input": "Which node runs the model?", "extra_body": {"ignore_eos": True}}


def test_an_answer_cut_at_its_limit_is_incomplete(worker: Worker) -> None:
    answer = worker.client.responses.create(model=worker.model, max_output_tokens=5, **ASKED)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 5
    assert answer.usage.total_tokens == answer.usage.input_tokens + 5


def test_a_stream_is_numbered_and_its_deltas_are_its_text(worker: Worker) -> None:
    stream = worker.client.responses.create(
        model=worker.model, max_output_tokens=20, stream=True, **ASKED
    )
    events: list[Any] = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert "".join(deltas) == done.text == events[-1].response.output_text
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens == 20


def test_the_clients_own_helper_puts_a_stream_together(worker: Worker) -> None:
    asked = {"model": worker.model, "input": ASKED["input"], "max_output_tokens": 9}
    with worker.client.responses.stream(**asked) as stream:
        final = stream.get_final_response()
    assert final.usage is not None
    assert final.usage.output_tokens <= 9


@pytest.mark.parametrize("streamed", [False, True])
def test_a_forced_tool_is_called(worker: Worker, streamed: bool) -> None:
    asked: Any = {"model": worker.model, "input": "Hot?", "extra_body": {"seed": 1}, **CALL}
    answer = worker.client.responses.create(**asked, stream=streamed)
    if streamed:
        answer = list(answer)[-1].response
    (call,) = answer.output
    assert (call.type, call.name) == ("function_call", "pick_unit")
    assert json.loads(call.arguments)["unit"] == "kelvin"


def test_a_conversation_and_instructions_cost_tokens(worker: Worker) -> None:
    asked: Any = {"model": worker.model, "max_output_tokens": 1, "input": "Hi"}
    short = worker.client.responses.create(**asked).usage
    long = worker.client.responses.create(**asked, instructions="Be short and be kind.").usage
    assert short is not None
    assert long is not None
    assert long.input_tokens > short.input_tokens


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"model": "nope"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"temperature": 9, "stream": True}, openai.BadRequestError),
        ({"input": "brain plan " * 2500}, openai.BadRequestError),
        ({"previous_response_id": "resp_none"}, openai.NotFoundError),
    ],
)
def test_a_bad_request_raises_the_clients_own_class(
    worker: Worker, changed: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind):
        worker.client.responses.create(**{"model": worker.model, "input": "x", **changed})


def test_what_is_not_kept_is_not_found(worker: Worker) -> None:
    kept = worker.client.responses.create(model=worker.model, max_output_tokens=1, **ASKED)
    with pytest.raises(openai.NotFoundError):
        worker.client.responses.retrieve(kept.id)


async def tokens_made_for_a_client_that_left(worker: Worker, longest: int) -> float:
    before = worker.gauge("generation_tokens_total")
    body = {"model": worker.model, "input": "x", "max_output_tokens": longest}
    body |= {"stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{worker.url}/v1/responses", json=body, timeout=60) as answer:
        assert answer.status_code == 200
    await until(lambda: worker.gauge("num_requests_running") == 0, 60)
    return worker.gauge("generation_tokens_total") - before


async def test_a_hang_up_stops_the_work(worker: Worker) -> None:
    longest = CONTEXT - 60
    # On a busy machine a tiny model may be done before its client gets to leave: try again.
    tries = [await tokens_made_for_a_client_that_left(worker, longest) for _ in range(3)]
    assert min(tries) < longest
