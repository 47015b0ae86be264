"""Deployments over HTTP."""

from __future__ import annotations

import httpx

from tests.support.brain import signed_up


async def test_catalog_lists_models(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    found = await brain.get("/api/v1/catalog", headers=who.headers)
    assert found.status_code == 200, found.text
    assert "ganglion/stand-in" in [item["id"] for item in found.json()["items"]]


async def test_a_model_shows_its_sum(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    found = await brain.get("/api/v1/catalog/Qwen/Qwen2.5-0.5B-Instruct", headers=who.headers)
    assert found.status_code == 200, found.text
    need = found.json()["needs"][0]
    assert sum(line["mib"] for line in need["lines"]) == need["per_gpu_mib"]
