"""What any worker does beside chat: completions, embeddings, models, health, metrics."""

from __future__ import annotations

import math

import httpx
import openai
import pytest

from tests.support.workers import CONTEXT, Worker

METRICS = (
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
    "num_preemptions_total",
    "request_success_total",
    "admission_rejections_total",
    "time_to_first_token_seconds_count",
    "inter_token_latency_seconds_count",
    "e2e_request_latency_seconds_bucket",
    "request_queue_time_seconds_sum",
    "request_prefill_time_seconds_sum",
    "request_decode_time_seconds_sum",
    "request_inference_time_seconds_sum",
)


def test_each_prompt_of_a_list_is_answered(worker: Worker) -> None:
    answer = worker.client.completions.create(
        model=worker.model, prompt=["One", "Two"], max_tokens=3, n=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_echo_begins_with_the_prompt(worker: Worker) -> None:
    answer = worker.client.completions.create(
        model=worker.model, prompt="The brain", max_tokens=3, echo=True
    )
    assert answer.choices[0].text.startswith("The brain")


def test_token_ids_are_a_prompt(worker: Worker) -> None:
    answer = worker.client.completions.create(
        model=worker.model, prompt=[40, 41, 42], max_tokens=2, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)


def test_a_completion_streams(worker: Worker) -> None:
    stream = worker.client.completions.create(
        model=worker.model,
        prompt="The brain",
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6


def test_the_model_is_listed_with_its_context(worker: Worker) -> None:
    (model,) = worker.client.models.list().data
    assert model.id == worker.model
    assert model.model_dump()["max_model_len"] == CONTEXT


@pytest.mark.parametrize("path", ["/health", "/version", "/load", "/metrics"])
def test_the_side_routes_answer(worker: Worker, path: str) -> None:
    assert httpx.get(f"{worker.url}{path}", timeout=10).status_code == 200


def test_the_metrics_have_vllms_names(worker: Worker) -> None:
    worker.client.completions.create(model=worker.model, prompt="The", max_tokens=2)
    assert all(worker.gauge(name) >= 0 for name in METRICS)


def test_floats_and_base64_are_the_same_vector(embedding_worker: Worker) -> None:
    asked = {"model": embedding_worker.model, "input": "One brain, many nodes."}
    floats = embedding_worker.client.embeddings.create(**asked, encoding_format="float")
    packed = embedding_worker.client.embeddings.create(**asked)  # the client asks for base64
    assert floats.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-5)


def test_embeddings_are_unit_vectors_in_the_order_asked(embedding_worker: Worker) -> None:
    texts = ["A node", "offers its GPUs", "A node"]
    answer = embedding_worker.client.embeddings.create(model=embedding_worker.model, input=texts)
    vectors = [row.embedding for row in answer.data]
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-4)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-4)
    assert math.hypot(*vectors[0]) == pytest.approx(1, abs=1e-2)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


def test_an_embedding_of_an_unknown_model_is_not_found(embedding_worker: Worker) -> None:
    with pytest.raises(openai.NotFoundError):
        embedding_worker.client.embeddings.create(model="nope", input="x")
