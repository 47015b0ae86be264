"""What any worker that embeds does when asked how near texts are."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.workers import Worker

TEXTS = ["A node offers its GPUs", "The brain plans where a model runs", "What a bill says"]
QUERY = "The brain plans where a model runs"


def ask(worker: Worker, path: str, **body: object) -> httpx.Response:
    return httpx.post(f"{worker.url}{path}", json={"model": worker.model, **body}, timeout=60)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_and_the_query_itself_comes_first(
    embedding_worker: Worker, path: str
) -> None:
    answer: Any = ask(embedding_worker, path, query=QUERY, documents=TEXTS).json()
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"]["text"] == QUERY
    assert sorted(row["index"] for row in answer["results"]) == [0, 1, 2]


def test_only_the_best_are_given_when_asked(embedding_worker: Worker) -> None:
    answer: Any = ask(embedding_worker, "/v1/rerank", query=QUERY, documents=TEXTS, top_n=2).json()
    assert len(answer["results"]) == 2
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_scores_come_in_the_order_asked(embedding_worker: Worker, path: str) -> None:
    answer: Any = ask(embedding_worker, path, text_1=QUERY, text_2=TEXTS).json()
    scores = [row["score"] for row in answer["data"]]
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert scores[1] == max(scores) == pytest.approx(1, abs=1e-2)


def test_what_is_scored_costs_what_ranking_costs(embedding_worker: Worker) -> None:
    ranked = ask(embedding_worker, "/rerank", query=QUERY, documents=TEXTS).json()
    scored = ask(embedding_worker, "/score", queries=QUERY, documents=TEXTS).json()
    assert scored["usage"]["total_tokens"] == ranked["usage"]["total_tokens"]
