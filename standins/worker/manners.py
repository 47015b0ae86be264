"""How each kind of route writes its stream, and how such a stream ends when not all goes well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from standins.worker.jobs import Body, Frame, Job
from standins.worker.refusals import Refusal

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Manner:
    """One kind of stream.

    ``error`` is what an open stream gets when the engine stops, its end included; None where
    vLLM can only cut the connection. ``told_error`` is the same for the fault
    ``error_then_done``. ``unfinished`` is an event without the mark of a proper finish, or None
    where the event is nothing but that.
    """

    event: Callable[[Body], bytes]
    end: bytes
    error: Callable[[Refusal], bytes] | None
    told_error: Callable[[Refusal], bytes]
    unfinished: Callable[[Body], Body | None]


@dataclass(frozen=True, slots=True)
class Speech:
    """How one route's job is rendered.

    ``aborted`` makes the events that end a stream which the engine gave up: of the job so far
    and the last event that was sent.
    """

    whole: Callable[[Job], Body]
    frames: Callable[[Job], Iterator[Frame]]
    aborted: Callable[[Job, Body], Iterable[Body]]
    manner: Manner


def encoded(payload: object) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def bare(payload: Body) -> bytes:
    """An event without a name, as chat and completions have them."""
    return b"data: " + encoded(payload) + b"\n\n"


def named(payload: Body) -> bytes:
    """An event that has its ``type`` as its name too, as Responses and Messages have them."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + bare(payload)


def choices_aborted(job: Job, last: Body) -> list[Body]:
    """The chunk after ``last`` that ends all its choices with ``finish_reason`` "abort"."""
    choices: list[Body] = []
    for choice in last.get("choices", []):
        nothing: Body = {"delta": {}} if "delta" in choice else {"text": ""}
        choices.append({**choice, **nothing, "finish_reason": "abort", "stop_reason": None})
    return [{**last, "choices": choices}]


def _choices_unfinished(payload: Body) -> Body:
    choices: list[dict[str, Any]] = payload["choices"]
    for choice in choices:
        choice["finish_reason"] = None
    return payload


def _message_error(refusal: Refusal) -> bytes:
    error = {"type": "internal_error", "message": refusal.message}
    return named({"type": "error", "error": error})


def _response_error(refusal: Refusal) -> bytes:
    """OpenAI's documented event; vLLM 0.32 has none and cuts."""
    facts = {"code": refusal.kind, "message": refusal.message, "param": refusal.param}
    return named({"type": "error", **facts, "sequence_number": 0})


def _without(kind: str) -> Callable[[Body], Body | None]:
    return lambda payload: None if payload["type"] == kind else payload


def _bare_error(refusal: Refusal) -> bytes:
    return bare(refusal.body()) + DONE


CHOICES = Manner(bare, DONE, _bare_error, _bare_error, _choices_unfinished)
MESSAGE = Manner(
    named,
    named({"type": "message_stop"}),
    _message_error,
    _message_error,
    _without("message_delta"),
)
RESPONSE = Manner(named, b"", None, _response_error, _without("response.completed"))
