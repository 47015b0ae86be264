"""A request for text, read and checked as vLLM does, whichever of the two routes it came by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from standins.worker.answers import Answer, Wish
from standins.worker.refusals import Refusal, bad_field, bad_value

CHOICES_MAX = 128
FINGERPRINT = "ganglion-stand-in"
TOP_LOGPROBS_MAX = 20
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer, and the prompt that it answers."""

    index: int
    prompt: str
    prompt_tokens: int
    answer: Answer
    echo: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """All that is said to one request is known before its first byte goes out."""

    identity: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    logprobs: int | None
    asked: Body = field(default_factory=dict)  # the request, where its answer repeats parts of it

    def aborted(self, tokens: int) -> Job:
        """The same job when each answer was given up after so many tokens."""
        choices = tuple(
            replace(choice, answer=Answer(choice.answer.pieces[:tokens], "abort"))
            for choice in self.choices
        )
        return replace(self, choices=choices)

    @property
    def completion_tokens(self) -> int:
        return sum(len(choice.answer.pieces) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE event; ``tokens`` says how many tokens' time it takes to make."""

    payload: Body
    tokens: int = 0


def signed(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames, the last of them with the fingerprint, as vLLM does."""
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame
    if held is not None:
        held.payload["system_fingerprint"] = FINGERPRINT
        yield held


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker that serves one model allows."""

    model: str
    max_model_len: int


def usage(prompt_tokens: int, completion_tokens: int, *, whole: bool) -> Body:
    """vLLM's usage object; a whole answer's has the two null details."""
    counts: Body = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }
    if whole:
        counts |= {"prompt_tokens_details": None, "completion_tokens_details": None}
    return counts


def whole_number(body: Body, name: str, default: int, low: int, high: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise bad_field("int_parsing", name, message, value)
    if value < low:
        raise bad_value(f"{name} must be at least {low}, got {value}.", name, value)
    if value > high:
        raise bad_value(f"{name} must be at most {high}, got {value}.", name, value)
    return value


def check_sampling(body: Body) -> None:
    """The ranges that vLLM's sampling checks name."""
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("presence_penalty", -2, 2),
        ("frequency_penalty", -2, 2),
    ):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_field("float_parsing", name, "Input should be a valid number", value)
        if not low <= value <= high:
            raise bad_value(f"{name} must be in [{low}, {high}], got {value}.", name, value)


def wish(body: Body, prompt_tokens: int, limits: Limits, *, default_tokens: int) -> Wish:
    """How long the answer may be; refuses what the context cannot hold."""
    room = limits.max_model_len - prompt_tokens
    if room <= 0:
        raise bad_value(
            f"This model's maximum context length is {limits.max_model_len} tokens. However, your "
            f"prompt contains at least {limits.max_model_len + 1} input tokens, which exceeds this "
            "limit even without any output tokens. Please reduce the length of the input prompt.",
            "input_tokens",
            prompt_tokens,
        )
    name = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
    asked = whole_number(body, name, min(default_tokens, room), 1, 2**31)
    if asked > limits.max_model_len:
        raise too_many_tokens(name, asked, limits)
    return Wish(
        tokens_max=min(asked, room),
        tokens_min=min(whole_number(body, "min_tokens", 0, 0, 2**31), room, asked),
        stop=_stop(body.get("stop")),
        run_on=body.get("ignore_eos") is True,
    )


def too_many_tokens(name: str, asked: int, limits: Limits) -> Refusal:
    return bad_value(
        f"{name}={asked} cannot be greater than max_model_len={limits.max_model_len}. "
        "Please request fewer output tokens.",
        name,
        asked,
    )


def choices_asked(body: Body) -> int:
    value = body.get("n")
    if isinstance(value, int) and value < 1:
        raise Refusal(f"n must be at least 1, got {value}.", param=None)
    return whole_number(body, "n", 1, 1, CHOICES_MAX)


def top_asked(value: object) -> int:
    """How many alternatives a logprobs field asks for."""
    count = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if count > TOP_LOGPROBS_MAX:
        message = (
            f"Requested sample logprobs of {count}, "
            f"which is greater than max allowed: {TOP_LOGPROBS_MAX}"
        )
        raise bad_value(message, "logprobs", count)
    return max(count, 0)


def stream_wishes(body: Body) -> tuple[bool, bool, bool]:
    """Whether to stream, to end with usage, and to give usage in each chunk."""
    stream = body.get("stream") is True
    options = body.get("stream_options")
    if options is not None and not stream:
        message = "Stream options can only be defined when `stream=True`. "
        raise Refusal(message + "(parameter=stream_options)", param="stream_options")
    asked = options if isinstance(options, dict) else {}
    include = asked.get("include_usage") is True
    return stream, include, include and asked.get("continuous_usage_stats") is True


def _stop(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_field("string_type", "stop", "Input should be a valid string", value)
    return tuple(value)
