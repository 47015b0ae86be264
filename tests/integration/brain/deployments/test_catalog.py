"""The catalog over HTTP: lists, filters, sums, places with prices, quantised deployments."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.plumbing import Ctx
from kernel.ids import AccountId
from tests.support.brain import Somebody, signed_up
from tests.support.deployments import give

URL = "/api/v1/catalog"


@pytest.fixture
async def who(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    made = await signed_up(brain)
    await give(ctx, AccountId(made.account_id))
    return made


async def got(brain: httpx.AsyncClient, who: Somebody, path: str) -> Any:
    answer = await brain.get(f"{URL}{path}", headers=who.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.feature("D1")
async def test_all_models_are_listed_page_by_page(brain: httpx.AsyncClient, who: Somebody) -> None:
    whole = [item["id"] for item in (await got(brain, who, "?limit=200"))["items"]]
    assert len(whole) >= 40
    page, seen = await got(brain, who, "?limit=17"), []
    while page["next"]:
        seen += [item["id"] for item in page["items"]]
        page = await got(brain, who, f"?limit=17&cursor={page['next']}")
    assert [*seen, *(item["id"] for item in page["items"])] == whole == sorted(whole)


@pytest.mark.feature("D1")
async def test_a_model_names_its_licence_source_engine_and_routes(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    found = (await got(brain, who, "?q=gemma-3-27b"))["items"][0]
    assert (found["licence"], found["licence_name"], found["gated"]) == (
        "LicenseRef-Gemma",
        "Gemma Terms of Use",
        True,
    )
    assert found["source"] == "https://huggingface.co/google/gemma-3-27b-it"
    assert found["figures"].endswith("/config.json")
    assert (found["engine"], found["routes"][0]) == ("vllm", "/v1/chat/completions")
    assert found["smallest_gpu"]["gpu"] == "H100 SXM"


@pytest.mark.feature("D1", "D2")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?category=VIDEO&gpu=4090", {"Wan-AI/Wan2.2-TI2V-5B-Diffusers"}),
        ("?kind=rerank", {"BAAI/bge-reranker-v2-m3"}),
        ("?engine=vllm-omni&category=AUDIO", {"Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice"}),
        ("?licence=LicenseRef-Gemma", {"google/gemma-3-27b-it"}),
        ("?gpu=B200&gpus=8&q=glm", {"zai-org/GLM-5.2-FP8"}),
        ("?gpu=B200&gpus=1&q=glm", set()),
    ],
)
async def test_filters_work_together(
    brain: httpx.AsyncClient, who: Somebody, query: str, expected: set[str]
) -> None:
    assert {item["id"] for item in (await got(brain, who, query))["items"]} == expected


@pytest.mark.parametrize(
    "query", ["?category=SOUP", "?engine=x", "?gpu=Voodoo", "?gpus=0", "?gpus=9", "?q=" + "x" * 101]
)
async def test_a_bad_filter_is_refused(brain: httpx.AsyncClient, who: Somebody, query: str) -> None:
    answer = await brain.get(URL + query, headers=who.headers)
    assert answer.status_code in (400, 422)


@pytest.mark.feature("D2")
async def test_a_model_shows_each_split_and_quantisation_line_by_line(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    found = await got(brain, who, "/Qwen/Qwen3-8B")
    assert {need["quantisation"] for need in found["needs"]} == {"", "fp8", "int4"}
    for need in found["needs"]:
        assert sum(line["mib"] for line in need["lines"]) == need["per_gpu_mib"]
    sizes = {(place["gpu"], place["quantisation"]): place for place in found["places"]}
    assert sizes["L4", "fp8"]["fits"]
    assert sizes["L4", "fp8"]["gpus"] == 2
    assert sizes["L4", ""]["price_usd_per_hour"] is None, "nobody offers one"


@pytest.mark.feature("D1")
async def test_a_quantisation_and_an_alias_are_found_by_name(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    fp8 = await got(brain, who, "/meta-llama/Meta-Llama-3.1-8B-Instruct:fp8")
    assert (fp8["id"], fp8["weights"]) == ("meta-llama/Llama-3.1-8B-Instruct:fp8", "fp8")
    wrong = await brain.get(f"{URL}/Qwen/Qwen3-8B:gguf", headers=who.headers)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "quantisation_unknown")


@pytest.mark.feature("D1", "D3")
async def test_a_deployment_takes_the_quantisation_that_is_asked_for(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    body = {"model": "Qwen/Qwen3-8B", "quantisation": "fp8", "name": "small"}
    made = await brain.post("/api/v1/deployments", json=body, headers=who.headers)
    assert (made.status_code, made.json()["model"]) == (201, "Qwen/Qwen3-8B:fp8")
    other = await brain.post(
        "/api/v1/deployments",
        json={**body, "quantisation": "gguf", "name": "other"},
        headers=who.headers,
    )
    assert other.json()["code"] == "quantisation_unknown"
