"""A demo's calls through the gateway, made with the official OpenAI client."""

from __future__ import annotations

from dataclasses import dataclass

from openai import OpenAI

from cli.demo.story import Story
from kernel.clock import NS, Clock

SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Call:
    """``request_id`` is the gateway's, by which its receipt is found."""

    request_id: str
    what: str
    model: str
    text: str
    first_seconds: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int


class Caller:
    """One account's client."""

    def __init__(self, gateway_url: str, key: str, clock: Clock) -> None:
        self._client = OpenAI(
            base_url=f"{gateway_url}/v1", api_key=key, timeout=SECONDS_MAX, max_retries=2
        )
        self._clock = clock

    def models(self) -> list[str]:
        return sorted(model.id for model in self._client.models.list())

    def plain(self, model: str, words: str) -> Call:
        began = self._clock.monotonic_ns()
        raw = self._client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": words}], max_tokens=48
        )
        answer = raw.parse()
        took = (self._clock.monotonic_ns() - began) / NS
        assert answer.usage is not None, "a plain answer says what was used"
        return Call(
            request_id=raw.headers["x-request-id"],
            what="plain",
            model=model,
            text=answer.choices[0].message.content or "",
            first_seconds=took,
            seconds=took,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
        )

    def streamed(self, model: str, words: str) -> Call:
        began = self._clock.monotonic_ns()
        raw = self._client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": words}],
            max_tokens=48,
            stream=True,
            stream_options={"include_usage": True},
        )
        first, pieces, usage = 0.0, [], None
        for chunk in raw.parse():
            first = first or (self._clock.monotonic_ns() - began) / NS
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage
        assert usage is not None, "the stream was asked to say what was used"
        return Call(
            request_id=raw.headers["x-request-id"],
            what="streamed",
            model=model,
            text="".join(pieces),
            first_seconds=first,
            seconds=(self._clock.monotonic_ns() - began) / NS,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )


def tell(story: Story, call: Call) -> None:
    words = call.text.replace("\n", " ")
    story.tell(
        f"{call.what}: first byte after {call.first_seconds:.3f} s, done after "
        f"{call.seconds:.3f} s, {call.prompt_tokens} + {call.completion_tokens} tokens, "
        f"{call.request_id}"
    )
    story.tell(f"“{words[:100]}{'…' if len(words) > 100 else ''}”")
