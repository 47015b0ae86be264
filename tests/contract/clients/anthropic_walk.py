"""Anthropic's client for Python, as it comes."""

from __future__ import annotations

from typing import Any

import anthropic

from tests.contract.clients.facts import facts_of


class Walk:
    """One client, with the key and the address that each step wants."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self._client = anthropic.Anthropic(
            base_url=told["url"], api_key="-", max_retries=0, timeout=60
        )

    def take(self, step: dict[str, Any]) -> dict[str, Any]:
        """What the client made of it."""
        keyed = step["idempotency_key"]
        client = self._client.with_options(
            base_url=self._told["impatient_url" if step["impatient"] else "url"],
            api_key=self._told["keys"][step["key"]],
            default_headers={"Idempotency-Key": keyed} if keyed else {},
        )
        return facts_of(lambda: _call(client, step))


def _call(client: anthropic.Anthropic, step: dict[str, Any]) -> int:
    body = dict(step["body"])
    if step["route"] == "models":
        if "model" in body:
            return len(client.models.retrieve(body["model"]).id)
        return len(client.models.list().data)
    more: dict[str, Any] = {"extra_body": {"user": body.pop("user")}} if "user" in body else {}
    if step["route"] == "count_tokens":
        return client.messages.count_tokens(**body, **more).input_tokens
    if not step["stream"]:
        return len(client.messages.create(**body, **more).content)
    with client.messages.stream(**body, **more) as events:
        return len(events.get_final_message().content)
