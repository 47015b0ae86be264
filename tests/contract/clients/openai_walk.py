"""OpenAI's client for Python, as it comes: each step by the method that its documents show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from tests.contract.clients.facts import facts_of

Step = dict[str, Any]
# These routes are not OpenAI's: its client calls them by its own ``post``.
POSTED = {"rerank": "/v1/rerank", "rerank_2": "/v2/rerank", "score": "/v1/score"}


class Walk:
    """One client, with the key and the address that each step wants."""

    def __init__(self, told: dict[str, Any], sound: bytes) -> None:
        self._told = told
        self._sound = sound
        self._client = openai.OpenAI(base_url=told["url"], api_key="-", max_retries=0, timeout=60)

    def take(self, step: Step) -> dict[str, Any]:
        """What the client made of it."""
        url = self._told["impatient_url" if step["impatient"] else "url"]
        keyed = step["idempotency_key"]
        client = self._client.with_options(
            base_url=f"{url}/v1",
            api_key=self._told["keys"][step["key"]],
            default_headers={"Idempotency-Key": keyed} if keyed else {},
        )
        return facts_of(lambda: self._call(client, step))

    def _call(self, client: openai.OpenAI, step: Step) -> int:
        route, body = step["route"], step["body"]
        if route in POSTED:
            url = f"{str(client.base_url).removesuffix('/v1/')}{POSTED[route]}"
            answer: Any = client.post(url, body=body, cast_to=object)
            return len(answer.get("results") or answer.get("data"))
        if route == "models":
            if "model" in body:
                return len(client.models.retrieve(body["model"]).id)
            return len(client.models.list().data)
        create = self._create(client, step)
        if step["stream"]:
            return sum(1 for _ in create(stream=True))
        return _said(route, create())

    def _create(self, client: openai.OpenAI, step: Step) -> Callable[..., Any]:
        route, body = step["route"], _known(step["body"])
        if route in ("transcriptions", "translations"):
            made = getattr(client.audio, route).create
            file = ("a.wav", self._sound + bytes(step["pad"]))
            return lambda **more: made(file=file, **body, **more)
        made = {
            "chat": client.chat.completions,
            "completions": client.completions,
            "embeddings": client.embeddings,
            "responses": client.responses,
            "speech": client.audio.speech,
        }.get(route)
        create = client.images.generate if made is None else made.create
        return lambda **more: create(**body, **more)


def _known(body: dict[str, Any]) -> dict[str, Any]:
    """Not each of the client's methods has an argument ``user``."""
    known = {name: value for name, value in body.items() if name != "user"}
    return known | ({"extra_body": {"user": body["user"]}} if "user" in body else {})


def _said(route: str, answer: Any) -> int:
    """How much it says; nothing would be a failure."""
    match route:
        case "chat":
            return len(answer.choices[0].message.content)
        case "completions":
            return len(answer.choices[0].text)
        case "responses":
            return len(answer.output_text)
        case "speech":
            return len(answer.read())
        case "transcriptions" | "translations":
            return len(answer.text)
    return len(answer.data)
